"""The names and shapes of a package, as data (docs/contract.md).

A signature's tensors are named here and nowhere else. Names are for people: programs read the card's map from
(output, input) to the tensor's name and never parse one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from gradwire._errors import UsageError

CARD_QUERY: Final = "query"  # input of the signature `card`; its values are ignored
CARD_ANSWER: Final = "card"  # output of the signature `card`

TANGENT: Final = "_dot"  # ends the name of a tangent
COTANGENT: Final = "_bar"  # ends the name of a cotangent
STD: Final = "_std"  # ends the name of a standard deviation; a model may have outputs of such names
RESERVED_SUFFIXES: Final = (TANGENT, COTANGENT)

MOST_FILLED: Final = 2**24  # elements of a row that is not the caller's: 128 MiB of float64

# Of inputs or outputs, in the package's order; or name in the package -> own name in the source, a model or a table.
Names: TypeAlias = "Sequence[str] | Mapping[str, str]"


class Part(StrEnum):
    """A group of tensors that a signature takes or returns."""

    INPUTS = "inputs"  # x
    TANGENTS = "tangents"  # x_dot, one for each differentiated input
    COTANGENTS = "cotangents"  # f_bar, one for each output
    OUTPUTS = "outputs"  # f
    DERIVATIVES = "derivatives"  # df_dx
    ALIASES = "aliases"  # derivatives once more, under names of their own; most packages serve none
    SECOND_DERIVATIVES = "second derivatives"  # d2f_dx2
    OUTPUT_TANGENTS = "output tangents"  # f_dot = df/dx · x_dot
    INPUT_COTANGENTS = "input cotangents"  # x_bar = f_bar · df/dx
    DERIVATIVE_TANGENTS = "derivative tangents"  # df_dx_dot = d²f/dx² · x_dot
    OUTPUT_STDS = "output standard deviations"  # f_std
    DERIVATIVE_STDS = "derivative standard deviations"  # df_dx_std
    CARD_QUERY = "card query"  # int32 (batch,), its values ignored
    CARD = "card"  # the card's JSON, a string a row


@dataclass(frozen=True, slots=True)
class SignatureKind:
    """A signature of the contract: what it takes and returns, in every package that has it.

    Attributes:
        name: its name in a package.
        takes: the groups of its inputs.
        gives: the groups of its outputs.
        order: of the highest derivative that it computes; 0 for none.
        optional: whether a package may lack it.
    """

    name: str
    takes: tuple[Part, ...]
    gives: tuple[Part, ...]
    order: int = 0
    optional: bool = False

    @property
    def direction(self) -> Part | None:
        """The directions that it takes besides the inputs: ``TANGENTS``, ``COTANGENTS``, or None."""
        return next((part for part in self.takes if part in (Part.TANGENTS, Part.COTANGENTS)), None)


SERVING_DEFAULT: Final = "serving_default"
VALUE: Final = "value"
JVP: Final = "jvp"
VJP: Final = "vjp"
HVP: Final = "hvp"
HESSIAN: Final = "hessian"
UNCERTAINTY: Final = "uncertainty"
CARD: Final = "card"

# Every signature of the contract, in its order. What a package, a check, a client or the command knows of signatures
# follows from here.
SIGNATURES: Final[Mapping[str, SignatureKind]] = {
    kind.name: kind
    for kind in (
        SignatureKind(SERVING_DEFAULT, (Part.INPUTS,), (Part.OUTPUTS, Part.DERIVATIVES, Part.ALIASES), 1),
        SignatureKind(VALUE, (Part.INPUTS,), (Part.OUTPUTS,)),
        SignatureKind(JVP, (Part.INPUTS, Part.TANGENTS), (Part.OUTPUTS, Part.OUTPUT_TANGENTS), 1, optional=True),
        SignatureKind(VJP, (Part.INPUTS, Part.COTANGENTS), (Part.OUTPUTS, Part.INPUT_COTANGENTS), 1, optional=True),
        SignatureKind(
            HVP,
            (Part.INPUTS, Part.TANGENTS),
            (Part.OUTPUTS, Part.DERIVATIVES, Part.DERIVATIVE_TANGENTS),
            2,
            optional=True,
        ),
        SignatureKind(
            HESSIAN,
            (Part.INPUTS,),
            (Part.OUTPUTS, Part.DERIVATIVES, Part.SECOND_DERIVATIVES),
            2,
            optional=True,
        ),
        SignatureKind(UNCERTAINTY, (Part.INPUTS,), (Part.OUTPUT_STDS, Part.DERIVATIVE_STDS), 1, optional=True),
        SignatureKind(CARD, (Part.CARD_QUERY,), (Part.CARD,)),
    )
}
DIFFERENTIABLE: Final = tuple(kind for kind in SIGNATURES.values() if kind.name != CARD)
# What `--compute` accepts, and the signature behind each word: `grad` is the one that a server runs by default, the
# others have the names of their signatures. The card names the signatures behind `solve`.
COMPUTE: Final = {"grad" if kind.name == SERVING_DEFAULT else kind.name: kind for kind in DIFFERENTIABLE}
SOLVE: Final = "solve"
COMPUTE_WORDS: Final = (*COMPUTE, SOLVE)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named tensor of a signature.

    Attributes:
        name: name in the signature.
        dtype: NumPy's name of the dtype, such as ``"float32"``; ``"string"`` for bytes.
        shape: sizes with the batch axis first; None stands for any size.
        any_rank: the signature leaves even the rank open; ``shape`` is then ``()`` and means nothing.
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
    def least_row_shape(self) -> tuple[int, ...]:
        """The shape of the smallest row: with 1 for each size that is open."""
        return tuple(size or 1 for size in self.row_shape)

    @property
    def is_scalar(self) -> bool:
        """Whether a row has a single element: ``(batch,)`` or ``(batch, 1)``."""
        return self.row_shape in ((), (1,))


def row_to_fill(name: str, shape: Sequence[int | None], most: int = MOST_FILLED) -> tuple[int, ...]:
    """Return the shape of the smallest row, for one that is filled here: a server may declare any size.

    Args:
        name: of the tensor, for the message.
        shape: of its rows; None for a size that is open.
        most: elements.

    Raises:
        UsageError: it has more.
    """
    row = tuple(size or 1 for size in shape)
    if (size := math.prod(row)) > most:
        raise UsageError(
            f"{name!r} is declared with {size:,} elements a row, and at most {most:,} are drawn, filled with zeros or named "
            "here: call Model.run with arrays of your own, or ask the model's operator"
        )
    return row


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
    """Name the derivative of an output: ``df_dx``, ``d2f_dx2``, ``d2f_dx_dy``.

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
            raise UsageError(f"derivative of {output!r} with respect to {len(inputs)} inputs: expected one or two")


def tangent_name(tensor: str) -> str:
    """Name the tangent of an input, an output or a derivative: ``x_dot``, ``f_dot``, ``df_dx_dot``."""
    return f"{tensor}{TANGENT}"


def cotangent_name(tensor: str) -> str:
    """Name the cotangent of an output or an input: ``f_bar``, ``x_bar``."""
    return f"{tensor}{COTANGENT}"


COVERAGE: Final = 0.95  # nominal, of error bars
BAND: Final = 1.959964  # standard deviations to either side hold that of a normal distribution


def std_name(tensor: str) -> str:
    """Name the standard deviation of an output or of a first derivative: ``f_std``, ``df_dx_std``."""
    return f"{tensor}{STD}"


def second_derivative_shape(output: Sequence[int], first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """Return the row shape of a second derivative.

    Args:
        output: row shape of the output.
        first: row shape of the first input.
        second: row shape of the second input.

    Returns:
        ``(*first, *second)`` for a scalar output, otherwise ``(*output, *first, *second)``.
    """
    return (*derivative_shape(output, first), *second)


def derivative_shape(output: Sequence[int], wrt: Sequence[int]) -> tuple[int, ...]:
    """Return the row shape of a first derivative.

    Args:
        output: row shape of the output.
        wrt: row shape of the input.

    Returns:
        The input's row shape for a scalar output, otherwise the output's followed by the input's.
    """
    return tuple(wrt) if tuple(output) in ((), (1,)) else (*output, *wrt)


def derivative_unit(output: str | None, wrt: str | None) -> str | None:
    """Return the unit of a first derivative: ``USD/year``, ``eV/(kg·m)``, ``"1"`` where the two are the same.

    Args:
        output: the output's unit; None where it is unknown.
        wrt: the input's.
    """
    if output is None or wrt is None:
        return None
    if output == wrt:
        return "1"
    if wrt == "1":
        return output
    return f"{output}/({wrt})" if set(wrt) & set("/*· ") else f"{output}/{wrt}"


def second_derivative_names(outputs: Iterable[str], wrt: Sequence[str]) -> dict[str, dict[str, dict[str, str]]]:
    """Name the second derivatives, each pair of inputs once.

    Args:
        outputs: names of the outputs.
        wrt: names of the inputs with respect to which they are differentiated, in the model's order.

    Returns:
        ``{output: {first input: {second input: name}}}``.
    """
    return {
        output: {
            first: {second: derivative_name(output, first, second) for second in wrt[i:]} for i, first in enumerate(wrt)
        }
        for output in outputs
    }


def name_mismatch(names: Iterable[str], expected: Iterable[str], optional: Iterable[str] = ()) -> str:
    """Describe how names differ from those expected: ``"sent extra: {y}; missing but required: {t, x}"``.

    Args:
        names: those that were sent.
        expected: all those that there are.
        optional: those of them that may be missing.

    Returns:
        Both sides of the difference; empty where there is none.
    """
    names, expected = set(names), set(expected)
    extra, missing = names - expected, expected - names - set(optional)
    if not extra and not missing:
        return ""
    return f"sent extra: {{{', '.join(sorted(extra))}}}; missing but required: {{{', '.join(sorted(missing))}}}"


def check_names(
    inputs: Iterable[str], outputs: Iterable[str], wrt: Iterable[str] | None = None
) -> dict[str, dict[str, str]]:
    """Check that a model's names can carry the contract, and name its first derivatives.

    Args:
        inputs: names of the inputs, in the model's order.
        outputs: names of the outputs.
        wrt: names of the differentiated inputs, in the model's order; all by default.

    Returns:
        ``{output: {input: name of the derivative}}``.

    Raises:
        UsageError: a name is not a letter and then letters, digits and underscores, ends in ``_dot`` or ``_bar``, or
            collides with another; TensorFlow's graphs cannot tell names apart that differ in case alone.
    """
    inputs, outputs = list(inputs), list(outputs)
    wrt = inputs if wrt is None else list(wrt)
    taken: dict[str, str] = {}
    for role, names in (("input", inputs), ("output", outputs)):
        cases: dict[str, str] = {}
        for name in names:
            if not is_name(name):
                raise UsageError(
                    f"{role} {name!r} is not a name: use letters, digits and underscores, a letter first; "
                    + _way_out(role, name)
                )
            if cases.setdefault(name.lower(), name) != name:
                raise UsageError(
                    f"{role}s {cases[name.lower()]!r} and {name!r} differ in case alone, and TensorFlow's graphs cannot "
                    "tell them apart: rename one of them"
                )
            if name.endswith(RESERVED_SUFFIXES):
                raise UsageError(
                    f"{role} {name!r} ends in _dot or _bar, which name tangents and cotangents; " + _way_out(role, name)
                )
            _claim(taken, name, f"{role} {name!r}")
    derivatives = {output: {name: derivative_name(output, name) for name in wrt} for output in outputs}
    seconds = second_derivative_names(outputs, wrt)
    for output in outputs:
        for first, name in derivatives[output].items():
            _claim(taken, name, f"the derivative of {output!r} with respect to {first!r}")
        for first, names in seconds[output].items():
            for second, name in names.items():
                _claim(taken, name, f"the derivative of {output!r} with respect to {first!r}, {second!r}")
    return derivatives


def own_names(names: Names) -> dict[str, str]:
    """Return ``{name in the package: its own name in the source}`` for names that a caller gave in either form."""
    return dict(names) if isinstance(names, Mapping) else {name: name for name in names}


def is_name(text: str) -> bool:
    """Whether a text can name a tensor: letters, digits and underscores, a letter first."""
    return text.isidentifier() and text.isascii() and text[0] != "_"


def _way_out(role: str, name: str) -> str:
    """Say how a column or a tensor of this name gets another one."""
    joined = name.replace(TANGENT, TANGENT[1:]).replace(COTANGENT, COTANGENT[1:])
    new = re.sub(r"\W+", "_", joined, flags=re.ASCII).strip("_")
    new = new if new[:1].isalpha() else f"{role[0]}_{new}".rstrip("_")
    own = f"'{name}'" if "," in name or " " in name else name
    return f'rename it, or map it to a name: --{role}s "{new}={own}" ({role}s={{{new!r}: {name!r}}})'


def _claim(taken: dict[str, str], name: str, owner: str) -> None:
    if name in taken:
        raise UsageError(f"the name {name!r} would stand for {taken[name]} and for {owner}: rename one of them")
    taken[name] = owner
