"""The part of a model that a call is about: some of its outputs, with respect to some of its inputs.

To a call, the model is a function of the inputs ``wrt`` alone, and has the outputs ``of`` alone; the other inputs are
held fixed. What is named by a list becomes a level of the result, as with a list of columns in pandas; what is named by
a string does not.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from gradwire._errors import InputNameError, UsageError
from gradwire._package import Part

Names: TypeAlias = "str | Sequence[str] | None"

_BY_OUTPUT = frozenset({Part.OUTPUTS, Part.OUTPUT_TANGENTS, Part.OUTPUT_STDS, Part.COTANGENTS})
_BY_INPUT = frozenset({Part.INPUT_COTANGENTS, Part.TANGENTS})


class Selection(NamedTuple):
    """Outputs and inputs by name, in the order of the results.

    Attributes:
        of: the outputs; None for all.
        wrt: the differentiated inputs; None for all.
        is_one_output: whether the output was named by a string, so that results have no level for it.
        is_one_input: the same of the input.
    """

    of: tuple[str, ...] | None = None
    wrt: tuple[str, ...] | None = None
    is_one_output: bool = False
    is_one_input: bool = False

    @classmethod
    def read(cls, of: Names, wrt: Names) -> Selection:
        """Read what a caller named.

        Raises:
            UsageError: it is not a name or a list of names, or there is none, or one of them is there twice.
        """
        return cls(_names("of", of), _names("wrt", wrt), isinstance(of, str), isinstance(wrt, str))

    def check(self, outputs: Sequence[str], inputs: Sequence[str], differentiated: Sequence[str]) -> None:
        """Check the names.

        Args:
            outputs: of the model.
            inputs: of the model.
            differentiated: those of them that it has derivatives with respect to.

        Raises:
            InputNameError: there is no such output, or no such input, or it is a parameter.
        """
        for name in self.of or ():
            if name not in outputs:
                raise _unknown("of", name, outputs)
        for name in self.wrt or ():
            if name in inputs and name not in differentiated:
                raise InputNameError(
                    f"wrt={name!r} is a parameter, with respect to which the package has no derivative; expected some "
                    f"of {list(differentiated)}, or export it with --wrt"
                )
            if name not in differentiated:
                raise _unknown("wrt", name, differentiated)

    def of_part(self, part: Part, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the tensors of a part of a response that are selected.

        Args:
            part: which.
            tensors: all of it, by output, by input, or by output and one or two inputs.

        Raises:
            InputNameError: the package has no derivative of one of the outputs with respect to one of the inputs.
        """
        if part in _BY_INPUT:
            return _picked(tensors, self.wrt)
        by_output = _picked(tensors, self.of)
        if part in _BY_OUTPUT or self.wrt is None:
            return by_output
        chosen: dict[str, Any] = {}
        for output, by_input in by_output.items():
            pairs = _with_respect_to(self.wrt, by_input, twice=part is Part.SECOND_DERIVATIVES)
            if pairs.missing and self.of is not None:
                raise _no_derivative(output, by_input, pairs.missing)
            if pairs.tensors:
                chosen[output] = pairs.tensors
        if not chosen:
            raise InputNameError(f"the package has no derivative of any output with respect to {list(self.wrt)}")
        return chosen


EVERYTHING = Selection()


def _names(argument: str, names: object) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str):
        return (names,)
    is_listed = isinstance(names, (list, tuple))
    entries: tuple[object, ...] = tuple(cast("Iterable[object]", names)) if is_listed else ()
    if not entries or not all(isinstance(name, str) for name in entries):
        got = str(list(entries)) if is_listed else f"of type {type(names).__name__}"
        raise UsageError(
            f"{argument} is {got}, expected a name or a list of names; an input of the name {argument!r} itself goes by "
            "position"
        )
    if len(set(entries)) < len(entries):
        raise UsageError(f"{argument}={names!r} has a name twice, expected each once")
    return cast("tuple[str, ...]", entries)


def _picked(entries: Mapping[str, Any], names: Sequence[str] | None) -> Mapping[str, Any]:
    if names is None:
        return entries
    for name in names:
        if name not in entries:
            raise _no_derivative(name, entries)
    return {name: entries[name] for name in names}


class _Pairs(NamedTuple):
    """Derivatives of an output: those that are there, and the inputs, or pairs of inputs, without one."""

    tensors: Mapping[str, Any]
    missing: Sequence[str]


def _with_respect_to(wrt: Sequence[str], by_input: Mapping[str, Any], *, twice: bool) -> _Pairs:
    if not twice:
        there = [name for name in wrt if name in by_input]
        return _Pairs({name: by_input[name] for name in there}, [name for name in wrt if name not in by_input])
    rows = {first: {second: row[second] for second in row if second in wrt} for first, row in by_input.items()}
    rows = {first: row for first, row in rows.items() if first in wrt and row}
    pairs = {frozenset((first, second)) for first, row in rows.items() for second in row}  # in one of the two orders
    missing = [f"{first} and {second}" for first in wrt for second in wrt if frozenset((first, second)) not in pairs]
    return _Pairs(rows, missing)


def _unknown(argument: str, name: str, expected: Sequence[str]) -> InputNameError:
    close = difflib.get_close_matches(name, expected, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    kind = "output" if argument == "of" else "differentiated input"
    return InputNameError(f"{argument}={name!r} is no {kind}, expected some of {list(expected)}{hint}")


def _no_derivative(output: str, there: Mapping[str, Any], missing: Sequence[str] = ()) -> InputNameError:
    lacking, what = (f" with respect to {missing[0]}", "inputs") if missing else ("", "outputs")
    return InputNameError(
        f"the package has no derivative of {output!r}{lacking}, only for the {what} {list(there)}: leave it out"
    )
