"""What travels between a ``Model`` and whatever answers it: a call, its outputs, and the states of versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._package import Signature


class VersionStatus(NamedTuple):
    """The state of one version of a model.

    Attributes:
        version: its number.
        state: Serving's word: ``START``, ``LOADING``, ``AVAILABLE``, ``UNLOADING``, ``END`` or ``UNKNOWN``.
        error: why it could not be loaded, as ``"CODE: message"``; empty when nothing went wrong.
    """

    version: int
    state: str
    error: str


class Call(NamedTuple):
    """One call of a signature.

    Attributes:
        signature: what is called.
        inputs: by name, in the signature's dtypes.
        outputs: the outputs wanted; None for all.
    """

    signature: Signature
    inputs: Mapping[str, NDArray[Any]]
    outputs: Sequence[str] | None = None


@final
class Prediction(dict[str, "NDArray[Any]"]):
    """Outputs by name, and which version of the model gave them.

    Attributes:
        version: its number; None where that is not known.
    """

    def __init__(self, outputs: Mapping[str, NDArray[Any]], version: int | None) -> None:
        super().__init__(outputs)
        self.version = version


def count_rows(signature: Signature, rows: Mapping[str, NDArray[Any]]) -> int | None:
    """Counts the rows of a call; None where no input has a batch axis.

    Args:
        signature: what is called.
        rows: its inputs.
    """
    for name, array in rows.items():
        if signature.inputs[name].is_batch_first:
            return len(array)
    return None
