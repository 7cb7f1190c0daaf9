"""Derivatives under the names, and with the signs, that people give them: forces for -denergy_dpositions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gradwire._errors import UsageError
from gradwire._package.contract import RESERVED_SUFFIXES, check_names, derivative_name, is_name, second_derivative_names

PAIR: Final = 2  # an output and an input; a column may follow
FORMS: Final = "as in delta=px:S0, forces=-energy:positions or vega=0.01*px:vol"
OUTPUT: Final = re.compile(r"(?:(?P<sign>-)|(?P<factor>[^*]+)\*)?\s*(?P<output>[^*-]+)")


@dataclass(frozen=True, slots=True)
class Alias:
    """A first derivative times a number, under a name of its own.

    Attributes:
        output: the output that is differentiated.
        input: the input with respect to which it is.
        factor: the named tensor is the derivative times this: -1 for a force.
        served: whether `serving_default` returns it by that name, beside the contract's.
    """

    output: str
    input: str
    factor: float = 1.0
    served: bool = False

    @property
    def text(self) -> str:
        """The derivative by its name in a package: ``-denergy_dpositions``, ``0.01 dpx_dvol``."""
        factor = {1.0: "", -1.0: "-"}.get(self.factor, f"{self.factor:g} ")
        return factor + derivative_name(self.output, self.input)


def read_alias(name: str, output: str, wrt: str) -> Alias:
    """Read an alias from an output with a sign or a factor, ``"-energy"`` or ``"0.01*px"``, and an input.

    Raises:
        UsageError: not of that form.
    """
    match = OUTPUT.fullmatch(output.strip())
    try:
        factor = 1.0 if match is None else float(match["factor"] or f"{match['sign'] or ''}1")
    except ValueError:
        factor = math.nan
    if match is None or not wrt.strip() or not math.isfinite(factor) or not factor:
        raise UsageError(f"the derivative {name!r} is {output!r} by {wrt!r}, expected an output and an input, {FORMS}")
    return Alias(match["output"].strip(), wrt.strip(), factor)


def read_declared(name: str, parts: Sequence[str]) -> tuple[Alias, str]:
    """Read what a caller declares of a column of derivatives.

    Args:
        name: of the derivative.
        parts: output and input (see ``read_alias``), and the column where it has another name.

    Returns:
        The alias, and the column.

    Raises:
        UsageError: not two parts, or three.
    """
    if isinstance(parts, str) or len(parts) not in (PAIR, PAIR + 1):
        raise UsageError(
            f"the derivative {name!r} is {parts!r}, expected (output, input), or (output, input, column): "
            f'{{"delta": ("px", "S0"), "forces": ("-energy", "positions")}}'
        )
    output, wrt, *column = parts
    return read_alias(name, output, wrt), column[0] if column else name


def aliases_of(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Alias]:
    """Return aliases from plain data, as cards and records of fits hold them.

    Args:
        entries: ``{name: {"output": …, "input": …, "factor": …, "served": …}}``; the last two may be absent.
    """
    return {
        name: Alias(entry["output"], entry["input"], float(entry.get("factor", 1)), entry.get("served") is True)
        for name, entry in entries.items()
    }


def check_aliases(
    aliases: Mapping[str, Alias], inputs: Sequence[str], outputs: Sequence[str], wrt: Sequence[str] | None = None
) -> None:
    """Check that aliases name derivatives of a model, and no tensor has their names already.

    Args:
        aliases: by name.
        inputs: names of the inputs, in the model's order.
        outputs: names of the outputs.
        wrt: names of the differentiated inputs; all by default.

    Raises:
        UsageError: a derivative that there is not, a name that is none or is taken, or two for one derivative.
    """
    wrt = list(inputs if wrt is None else wrt)
    taken = _tensor_names(inputs, outputs, wrt)
    owners: dict[tuple[str, str], str] = {}
    for name, alias in aliases.items():
        if alias.output not in outputs or alias.input not in wrt:
            raise UsageError(
                f"{name!r} is the derivative of {alias.output!r} with respect to {alias.input!r}, expected an output of "
                f"{list(outputs)} and a differentiated input of {wrt}: {FORMS}"
            )
        if not is_name(name) or name.endswith(RESERVED_SUFFIXES):
            raise UsageError(
                f"derivative {name!r} is not a name: use letters, digits and underscores, a letter first, and no _dot or "
                f"_bar at the end; give the column one: --derivatives \"slope='{name}'={alias.output}:{alias.input}\""
            )
        if name in taken:
            raise UsageError(
                f"the name {name!r} would stand for {taken[name]} and for a derivative: rename one of them"
            )
        if (other := owners.setdefault((alias.output, alias.input), name)) != name:
            raise UsageError(
                f"{other!r} and {name!r} are both the derivative of {alias.output!r} with respect to {alias.input!r}: "
                "leave one out"
            )


def _tensor_names(inputs: Sequence[str], outputs: Sequence[str], wrt: Sequence[str]) -> dict[str, str]:
    """Return every name that the contract has for a model, and what it stands for."""
    taken = {name: f"input {name!r}" for name in inputs} | {name: f"output {name!r}" for name in outputs}
    seconds = second_derivative_names(outputs, wrt)
    for output, by_input in check_names(inputs, outputs, wrt).items():
        for name in by_input.values():
            taken[name] = f"a derivative of {output!r}"
        for names in seconds[output].values():
            taken |= dict.fromkeys(names.values(), f"a second derivative of {output!r}")
    return taken
