"""The names and shapes of a package, as data (docs/contract.md).

A signature's tensors are named here and nowhere else. Names are for people: programs read the card's map from
(output, input) to the tensor's name and never parse one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gradwire._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SERVING_DEFAULT: Final = "serving_default"  # the inputs -> every output and its first derivatives
VALUE: Final = "value"  # the inputs -> the outputs alone
CARD: Final = "card"  # int32 (batch,) -> the card's JSON, a string a row

CARD_QUERY: Final = "query"  # input of the signature `card`; its values are ignored
CARD_ANSWER: Final = "card"  # output of the signature `card`

RESERVED_SUFFIXES: Final = ("_dot", "_bar")  # tangents and cotangents


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named tensor of a signature.

    Attributes:
        name: name in the signature.
        dtype: NumPy's name of the dtype, such as ``"float32"``; ``"string"`` for bytes.
        shape: sizes with the batch axis first; None stands for any size.
        any_rank: the signature leaves even the rank open; ``shape`` is then ``()`` and says nothing.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    any_rank: bool = False

    @property
    def is_batch_first(self) -> bool:
        """Whether the first axis is a batch of any size."""
        return self.shape[:1] == (None,)

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """The shape of one row: without the batch axis."""
        return self.shape[1:]

    @property
    def is_one_number(self) -> bool:
        """Whether a row is a single number: ``(batch,)`` or ``(batch, 1)``."""
        return self.row_shape in ((), (1,))


@dataclass(frozen=True, slots=True)
class Signature:
    """A callable of a package: named tensors in, named tensors out.

    Attributes:
        name: the signature's name.
        inputs: by name, in the model's order where a card is at hand, else sorted.
        outputs: by name.
        optional: inputs for which the signature holds a default value.
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    optional: frozenset[str] = frozenset()


def derivative_name(output: str, *inputs: str) -> str:
    """Names the derivative of an output: ``df_dx``, ``d2f_dx2``, ``d2f_dx_dy``.

    Args:
        output: the output's name.
        *inputs: one name for a first derivative, two for a second, in the model's order.

    Returns:
        The tensor's name in a signature.

    Raises:
        UsageError: for other than one or two inputs.
    """
    match inputs:
        case (first,):
            return f"d{output}_d{first}"
        case (first, second):
            return f"d2{output}_d{first}2" if first == second else f"d2{output}_d{first}_d{second}"
        case _:
            raise UsageError(f"derivative of {output!r} by {len(inputs)} inputs: expected one or two")


def derivative_shape(output: Sequence[int], wrt: Sequence[int]) -> tuple[int, ...]:
    """Gives the row shape of a first derivative.

    Args:
        output: row shape of the output.
        wrt: row shape of the input.

    Returns:
        The input's row shape for a one-number output, otherwise the output's followed by the input's.
    """
    return tuple(wrt) if tuple(output) in ((), (1,)) else (*output, *wrt)


def check_names(inputs: Iterable[str], outputs: Iterable[str]) -> dict[str, dict[str, str]]:
    """Checks that a model's names can carry the contract, and names its first derivatives.

    Args:
        inputs: names of the inputs, in the model's order.
        outputs: names of the outputs.

    Returns:
        ``{output: {input: name of the derivative}}``.

    Raises:
        UsageError: a name is not an identifier, ends in ``_dot`` or ``_bar``, or collides with another.
    """
    inputs, outputs = list(inputs), list(outputs)
    taken: dict[str, str] = {}
    for role, names in (("input", inputs), ("output", outputs)):
        for name in names:
            if not name.isidentifier():
                raise UsageError(f"{role} {name!r} is not a name: use letters, digits and underscores")
            if name.endswith(RESERVED_SUFFIXES):
                raise UsageError(
                    f"{role} {name!r} ends in _dot or _bar, which name tangents and cotangents: rename it"
                )
            _claim(taken, name, f"{role} {name!r}")
    derivatives = {output: {wrt: derivative_name(output, wrt) for wrt in inputs} for output in outputs}
    pairs = [(first, second) for i, first in enumerate(inputs) for second in inputs[i:]]
    for output in outputs:
        for wrt in inputs:
            _claim(taken, derivatives[output][wrt], f"the derivative of {output!r} by {wrt!r}")
        for first, second in pairs:
            _claim(
                taken,
                derivative_name(output, first, second),
                f"the derivative of {output!r} by {first!r}, {second!r}",
            )
    return derivatives


def _claim(taken: dict[str, str], name: str, owner: str) -> None:
    if name in taken:
        raise UsageError(
            f"the name {name!r} would stand for {taken[name]} and for {owner}: rename one of them"
        )
    taken[name] = owner
