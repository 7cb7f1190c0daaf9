"""One call, ready to go, and how to read its response. No input or output happens here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import ServerError, ShapeError
from gradwire._model.points import fits, show_shape
from gradwire._package import BY_NAME, Signature
from gradwire._wire import Call

Arrays = dict[str, "NDArray[Any]"]


class PreparedRequest(NamedTuple):
    """A call, ready to go.

    Attributes:
        call: what to run.
        outputs: names of the outputs that the caller needs.
        unpack: turns them into what the caller gets.
        bars: the call whose outcome tells whether the points are near enough to the samples, where that is checked; it
            is carried out first, and its ``unpack`` warns or raises.
    """

    call: Call
    outputs: tuple[str, ...]
    unpack: Callable[[Arrays], Any]
    bars: PreparedRequest | None = None

    @classmethod
    def of(
        cls,
        signature: Signature,
        rows: Mapping[str, NDArray[Any]],
        outputs: tuple[str, ...],
        unpack: Callable[[Arrays], Any],
    ) -> PreparedRequest:
        """Prepare a call of some outputs; those that are all there are need no names."""
        is_everything = len(outputs) == len(signature.outputs)
        return cls(Call(signature, rows, None if is_everything else outputs), outputs, unpack)

    def empty_response(self) -> Arrays | None:
        """Return the outputs for no rows, for TensorFlow Serving with batching lets such a call wait forever.

        Returns:
            Empty arrays of the right dtypes and row shapes (an open size is 0); None where there are rows.

        Raises:
            ShapeError: an output has no batch axis, so that only the server could compute it.
        """
        if self.call.rows != 0:
            return None
        specs = [self.call.signature.outputs[name] for name in self.outputs]
        for spec in specs:
            if not spec.is_batch_first or spec.dtype not in BY_NAME:
                raise ShapeError(f"no rows, and output {spec.name!r} has no batch axis: expected at least one row")
        return {spec.name: np.empty([size or 0 for size in spec.shape], BY_NAME[spec.dtype].numpy) for spec in specs}

    def check(self, response: Mapping[str, NDArray[Any]]) -> Arrays:
        """Check a response against the signature.

        Args:
            response: outputs by name, perhaps read-only.

        Returns:
            The outputs that the caller needs, each an array of the caller's own.

        Raises:
            ServerError: an output is missing, or has another dtype, shape or number of rows.
        """
        arrays: Arrays = {}
        call = self.call
        for name in self.outputs:
            array, spec = response.get(name), call.signature.outputs[name]
            if array is None:
                raise ServerError(
                    f"the response lacks {name!r}, it has {sorted(response)}: ask the server's operator",
                    code="INTERNAL",
                )
            shape = (call.rows, *spec.shape[1:]) if spec.is_batch_first else spec.shape
            dtype = BY_NAME[spec.dtype].numpy if spec.dtype in BY_NAME else None
            has_shape = array.shape == shape or spec.any_rank or fits(array.shape, shape)
            if array.dtype != dtype or not has_shape:
                raise ServerError(
                    f"the response's {name!r} is {array.dtype} {array.shape}, expected {spec.dtype} "
                    f"{show_shape(shape)} by the signature: a new version may have come, so connect again",
                    code="INTERNAL",
                )
            own = call.out.get(name)
            if own is None:
                arrays[name] = array if array.flags.writeable else array.copy()
            else:
                arrays[name] = own
                if array is not own:
                    np.copyto(own, array)
        return arrays
