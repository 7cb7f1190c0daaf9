"""A model behind UM-Bridge's HTTP protocol, for callers in Julia, R, MATLAB, C++, PyMC, and for UQ tools that speak it.

    gradwire.umbridge.serve(gradwire.connect("localhost:8500", "log"), 4242)      # until Ctrl-C

and there, in Python for example, ``umbridge.HTTPModel("http://localhost:4242", "log")``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._bridges import Bridge, sizes, unravel
from gradwire._errors import GradwireError, UsageError
from gradwire._extras import import_extra
from gradwire._model import Model
from gradwire._package import CardTensor

Array = NDArray[Any]

__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "serve"]

DEFAULT_PORT: Final = 4242  # UM-Bridge's own
DEFAULT_HOST: Final = "127.0.0.1"  # the protocol has no authentication, so other machines must be let in on purpose
WORKERS: Final = 8  # concurrent requests: each waits for the served model, so more than the cores


def serve(model: Model, port: int = DEFAULT_PORT, *, host: str = DEFAULT_HOST, name: str | None = None) -> None:
    """Serve Evaluate, Gradient, ApplyJacobian and ApplyHessian until it is interrupted.

    The server is that of the umbridge package. Each request is one call. Inputs and outputs are the model's, in the
    card's order, each flattened to one list of numbers. Faults come back as the protocol's error, with the reason.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.
        port: to listen on.
        host: the address to listen at; ``"0.0.0.0"`` lets any other machine in.
        name: the model's name for callers; the card's by default.

    Raises:
        MissingExtra: umbridge is not installed.
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
        UsageError: nothing can listen there.
    """
    um = import_extra("umbridge.um", "umbridge")
    served = _served(um, Bridge(model), name or model.card.name)
    web = um.web
    um.web = _Web(web, host)  # umbridge 1.2 listens everywhere, and has no option for that
    try:
        um.serve_models([served], port, max_workers=WORKERS)
    except OSError as error:
        raise UsageError(f"cannot listen at {host}:{port} ({error.strerror or error}): choose another port") from error
    finally:
        um.web = web


@final
class _Web:
    """aiohttp.web as umbridge uses it, but for the address at which it listens."""

    def __init__(self, web: Any, host: str) -> None:
        self._web = web
        self._host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._web, name)

    def run_app(self, app: Any, *, port: int) -> None:
        """Run the server, silently."""
        self._web.run_app(app, host=self._host, port=port, print=None)


def _served(um: Any, bridge: Bridge, name: str) -> Any:  # noqa: C901 - a class or rules inside, for the framework is imported here alone; no branches
    """The model in umbridge's form: lists of lists of numbers."""

    class Served(um.Model):
        """One served model."""

        def get_input_sizes(self, _config: Any = None) -> list[int]:
            return sizes(bridge.inputs)

        def get_output_sizes(self, _config: Any = None) -> list[int]:
            return sizes(bridge.outputs)

        def supports_evaluate(self) -> bool:
            return True

        def supports_gradient(self) -> bool:
            return True

        def supports_apply_jacobian(self) -> bool:
            return True

        def supports_apply_hessian(self) -> bool:
            return bridge.has_second_derivatives

        def __call__(self, parameters: Any, _config: Any = None) -> Any:
            with _protocol_errors(um):
                f = bridge.value(*_point(bridge, parameters))
                return [_numbers(part) for part in unravel(f, bridge.outputs)]

        def gradient(self, out_wrt: int, in_wrt: int, parameters: Any, sens: Any, _config: Any = None) -> Any:
            with _protocol_errors(um):
                _, df = bridge.value_and_jacobian(*_point(bridge, parameters))
                return _numbers(np.asarray(sens) @ df[_place(bridge.outputs, out_wrt), _place_in_x(bridge, in_wrt)])

        def apply_jacobian(self, out_wrt: int, in_wrt: int, parameters: Any, vec: Any, _config: Any = None) -> Any:
            with _protocol_errors(um):
                _, df = bridge.value_and_jacobian(*_point(bridge, parameters))
                return _numbers(df[_place(bridge.outputs, out_wrt), _place_in_x(bridge, in_wrt)] @ np.asarray(vec))

        def apply_hessian(
            self,
            out_wrt: int,
            in_wrt1: int,
            in_wrt2: int,
            parameters: Any,
            sens: Any,
            vec: Any,
            _config: Any = None,
        ) -> Any:
            with _protocol_errors(um):
                x, *more = _point(bridge, parameters)
                along = np.zeros_like(x, bridge.dtype)
                along[_place_in_x(bridge, in_wrt2)] = vec
                df_dot = bridge.jacobian_jvp(x, along, *more)
                return _numbers(
                    np.asarray(sens) @ df_dot[_place(bridge.outputs, out_wrt), _place_in_x(bridge, in_wrt1)]
                )

    return Served(name)


@contextmanager
def _protocol_errors(um: Any) -> Generator[None]:
    """Raise errors as what aiohttp turns into the protocol's error."""
    try:
        yield
    except (GradwireError, ValueError) as error:  # a ValueError is a vector of another length
        kind = "InvalidInput" if isinstance(error, ValueError) else type(error).__name__
        text = json.dumps({"error": {"type": kind, "message": str(error)}})
        fault = um.web.HTTPBadRequest if kind == "InvalidInput" else um.web.HTTPInternalServerError
        raise fault(text=text, content_type="application/json") from error


def _point(bridge: Bridge, parameters: Sequence[Sequence[float]]) -> list[Array]:
    """Return x and the parameters, one row each."""
    rows = {
        tensor.name: _as_integers(row) if np.dtype(tensor.dtype).kind in "iu" else np.asarray(row, float)
        for tensor, row in zip(bridge.inputs, parameters, strict=True)
    }
    return [
        np.concatenate([rows[tensor.name] for tensor in bridge.wrt]),
        *[rows[tensor.name] for tensor in bridge.parameters],
    ]


def _as_integers(row: Sequence[float]) -> Array:
    """The protocol has only floats; those that are not whole are left for the client to refuse."""
    array = np.asarray(row, float)
    return array.astype(np.int64) if np.array_equal(array, np.round(array)) else array


def _place(tensors: Sequence[CardTensor], index: int) -> slice:
    """The elements of a tensor among the joined ones."""
    start = sum(sizes(tensors[:index]))
    return slice(start, start + math.prod(tensors[index].shape))


def _place_in_x(bridge: Bridge, index: int) -> slice:
    """The elements of an input in x."""
    tensor = bridge.inputs[index]
    if tensor not in bridge.wrt:
        raise UsageError(
            f"input {index}, {tensor.name!r}, is a parameter, and the package has no derivative with respect to it: "
            f"expected one of {[wrt.name for wrt in bridge.wrt]}"
        )
    return _place(bridge.wrt, bridge.wrt.index(tensor))


def _numbers(array: Array) -> list[float]:
    return [_Number(number) for number in array.tolist()]


@final
class _Number(float):
    """A float whose repr, which umbridge writes, is what JSON parsers read: NaN and Infinity."""

    __slots__ = ()

    def __repr__(self) -> str:
        return json.dumps(float(self))
