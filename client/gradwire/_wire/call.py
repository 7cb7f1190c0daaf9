"""What travels between a ``Model`` and a transport: a call, its outputs, and the states of versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, final

from numpy.typing import NDArray

from gradwire._package import Signature

_NOWHERE: Final[Mapping[str, NDArray[Any]]] = {}


class VersionStatus(NamedTuple):
    """The state of one version of a model.

    Attributes:
        version: its number.
        state: as TensorFlow Serving names it: ``START``, ``LOADING``, ``AVAILABLE``, ``UNLOADING``, ``END`` or
            ``UNKNOWN``.
        error: why it could not be loaded, as ``"CODE: message"``; empty when nothing went wrong.
    """

    version: int
    state: str
    error: str


@final
class Call:
    """One call of a signature.

    Args:
        signature: what is called.
        inputs: by name, in the signature's dtypes.
        outputs: names of the outputs to return; None for all.
        out: by output name, arrays that the caller wants them in, ``(rows, *output)``. A transport may write there, and
            then returns those arrays; what it returns instead is copied there.

    Attributes:
        rows: how many rows it has, counted here once; None where no input has a batch axis.
        span: the transport's, where the program traces its calls; else None.
    """

    __slots__ = ("inputs", "out", "outputs", "rows", "signature", "span")

    def __init__(
        self,
        signature: Signature,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str] | None = None,
        out: Mapping[str, NDArray[Any]] = _NOWHERE,
    ) -> None:
        self.signature = signature
        self.inputs = inputs
        self.outputs = outputs
        self.out = out
        self.span: Any = None
        self.rows: int | None = None
        for name, array in inputs.items():
            if signature.inputs[name].is_batch_first:
                self.rows = len(array)
                break


@final
class Prediction(dict[str, "NDArray[Any]"]):
    """Outputs by name, and the version of the model that computed them.

    Args:
        outputs: by name.
        version: its number; None where that is not known.
    """

    def __init__(self, outputs: Mapping[str, NDArray[Any]], version: int | None) -> None:
        super().__init__(outputs)
        self.version = version
