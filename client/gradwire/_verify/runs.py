"""How the proof calls a model; nothing else in it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gradwire._model import Model
from gradwire._transports import GrpcTransport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gradwire._package import Signature

_TIMEOUT: Final = 60.0  # seconds, for no rows


def plain(model: Model) -> Model:
    """Gives the same package without its caller's options: NaN is fed on purpose, and every answer must be a new one.

    Args:
        model: what answers.

    Returns:
        A model on the same connection, not to be closed.
    """
    transport, options = model._transport, model._options  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - a part of Model
    return Model(transport, timeout=options.timeout)


def run(model: Model, signature: str, rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Runs a signature as it stands.

    Args:
        model: what answers.
        signature: its name.
        rows: ``(batch, …)`` by input, in the signature's dtypes.

    Returns:
        Every output by name, ``(batch, …)``.
    """
    with np.errstate(all="ignore"):  # a FakeTransport computes here, and NaN is asked for on purpose
        return model.predict(signature, **rows)


def run_no_rows(model: Model, signature: Signature, rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]] | None:
    """Sends no rows to a model that runs in this process; a ``Model`` itself never sends them.

    Args:
        model: what answers.
        signature: what to run.
        rows: empty arrays by input.

    Returns:
        Every output; None for a server, where such a request may wait for ever.
    """
    transport = model._transport  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - below what Model offers, on purpose
    if isinstance(transport, GrpcTransport):
        return None
    return dict(transport.predict(signature, rows, timeout=_TIMEOUT))
