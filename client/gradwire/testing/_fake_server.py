"""``gradwire.connect`` led to fakes, for code that connects by itself."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import grpc

from gradwire._grpc import RpcStatus, explain
from gradwire._transports import Transport
from gradwire._wire import Address
from gradwire.aio import InThreads
from gradwire.testing._fake_model import FakeModel


@contextmanager
def fake_server() -> Generator[Callable[..., FakeModel]]:
    """Lead ``gradwire.connect`` and ``gradwire.aio.connect`` to fakes while the block runs, whatever the target.

    Example:
        >>> with fake_server() as serve:
        ...     log = serve(np.log, lambda x: 1 / x, name="log")
        ...     print(gradwire.connect("models.example:8500", "log").value(1.0))
        0.0

    Yields:
        A function with the arguments of ``FakeModel``, which serves the model and returns it. A name that it has not
        been given is a ModelNotFound; a name that it is given again leads to the newer model from then on.
    """
    models: dict[str, FakeModel] = {}

    def serve(*args: Any, **options: Any) -> FakeModel:
        model = FakeModel(*args, **options)
        models[model.name] = model
        return model

    def transport(address: Address, **_settings: Any) -> Transport:
        if address.model not in models:
            words = f"Servable not found for request: Latest({address.model}); the fakes are {sorted(models)}"
            raise explain(RpcStatus(grpc.StatusCode.NOT_FOUND, words), address, 0, None)
        return models[address.model].transport(address)

    def transport_in_threads(address: Address, **settings: Any) -> InThreads:
        return InThreads(transport(address, **settings))

    with (
        mock.patch("gradwire._connect.GrpcTransport", transport),
        mock.patch("gradwire.aio._connect.GrpcTransport", transport_in_threads),
    ):
        yield serve
