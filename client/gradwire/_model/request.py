"""One call, planned: which rows of which signature, and what to make of the answer. No input or output happens here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gradwire._model.validate import check_answer, no_rows
from gradwire._wire import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._package import Signature

Arrays = dict[str, "NDArray[Any]"]


class Plan(NamedTuple):
    """A call, ready to go.

    Attributes:
        signature: what is called.
        rows: its inputs, ``(batch, *row)``.
        names: the outputs that are wanted.
        finish: turns them into what the caller gets.
    """

    signature: Signature
    rows: Mapping[str, NDArray[Any]]
    names: Sequence[str]
    finish: Callable[[Arrays], Any]

    @property
    def call(self) -> Call:
        """What a transport is asked for."""
        everything = len(self.names) == len(self.signature.outputs)  # that costs nothing to say
        return Call(self.signature, self.rows, None if everything else self.names)

    def without_call(self) -> Arrays | None:
        """Answers no rows here, for they never travel; None where there are some.

        Raises:
            ShapeError: no rows, and an output has no batch axis.
        """
        return no_rows(self.signature, self.rows, self.names)

    def check(self, found: Mapping[str, NDArray[Any]]) -> Arrays:
        """Checks an answer against the signature; the arrays are then the caller's own.

        Raises:
            ServerError: an output is missing, or has another dtype, shape or number of rows.
        """
        return check_answer(found, self.signature, self.rows, self.names)
