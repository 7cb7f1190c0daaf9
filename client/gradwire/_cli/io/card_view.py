"""A card as text for people; the terminal and the HTML page lay it out.

A card may come from a stranger's server, so nothing on it is taken to have the right form.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from gradwire._cli.console import number
from gradwire._package import HESSIAN, HVP, Card, CardTensor
from gradwire._verify import CHECKS, Check, Finding

LABELS: Final = "labels"  # of an entry of a card's errors: whether labels of the tensor were fitted
NEVER: Final = "never labelled"
MEASURES: Final = {"training_rmse": "training rmse", "rmse_before": "rmse before"}
VALUES_ALONE: Final = (
    "fitted to values alone: the derivatives are those of the fitted function, and no label of them was fitted"
)
_LONGEST: Final = 400  # characters of one entry: a card may be of any size


@final
@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of text: its title, headings, and rows, and a remark below them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@final
@dataclass(frozen=True, slots=True)
class CardView:
    """A card as text: a table has a row per tensor or entry; ``errors`` is None and ``reference`` empty if unknown."""

    name: str
    inputs: TextTable
    outputs: TextTable
    errors: TextTable | None
    checks: tuple[Check, ...]
    gate: TextTable | None
    details: tuple[TextTable, ...]
    reference: str
    signatures: str
    created: str
    digest: str

    @classmethod
    def of(cls, card: Card) -> CardView:
        """Read a card."""
        aliases = {name: alias.text for name, alias in card.aliases.items()}
        species = {tensor.name: " ".join(tensor.species) for tensor in card.inputs if tensor.species is not None}
        distances = {tensor.name: _dict(tensor.distances) for tensor in card.inputs if tensor.distances is not None}
        solves = {name: f"{each.input} at a target of {each.output}" for name, each in card.solves.items()}
        residuals = {f"{name}.tolerance": each.tolerance for name, each in card.solves.items()}
        details = (
            ("derivatives by name", aliases),
            ("signatures that solve", solves | residuals),
            ("species", species),
            ("distances", {name: {pair: _range(each) for pair, each in by.items()} for name, by in distances.items()}),
            ("error bars", card.uncertainty),
            ("trained", card.trained),
            ("versions", card.versions),
        )
        return cls(
            name=card.name,
            inputs=TextTable(
                "inputs", ("input", "dtype", "row shape", "unit", "domain"), tuple(map(_input, card.inputs))
            ),
            outputs=TextTable(
                "outputs",
                ("output", "dtype", "row shape", "unit", "derivatives"),
                tuple(_output(card, tensor) for tensor in card.outputs),
            ),
            errors=error_table(card),
            checks=read_checks(card.checks),
            gate=gate_table(_dict(card.checks).get("gate")),
            details=tuple(TextTable(title, (title, ""), tuple(_flat(_dict(part)))) for title, part in details if part),
            reference=_reference(_dict(card.reference)),
            signatures=", ".join(card.signatures),
            created=card.created,
            digest=card.digest,
        )


def error_table(card: Card) -> TextTable | None:
    """Return the errors of the trained function, and the derivatives without one; None where the card has none."""
    aliases = {card.derivative_of(name): name for name in card.aliases}
    tensors = {name: _dict(entry) for name, entry in (card.errors or {}).items() if isinstance(entry, dict)}
    if not tensors:
        return None
    derivatives = [name for by_input in card.derivatives.values() for name in by_input.values()]
    measures = [m for m in dict.fromkeys(measure for entry in tensors.values() for measure in entry) if m != LABELS]
    rows = [
        (
            f"{name} ({aliases[name]})" if name in aliases else name,
            *(_short(entry.get(measure)) for measure in measures),
            _short(entry.get(LABELS, "-")),
        )
        for name, entry in tensors.items()
    ]
    dashes = ("-",) * len(measures)
    rows += [(name, *dashes, "no error known") for name in derivatives if name not in tensors]
    if not {HVP, HESSIAN}.isdisjoint(card.signatures):
        rows.append(("second derivatives", *dashes, NEVER))
    against = _short((card.errors or {}).get("against", "an unknown reference"))
    columns = ("error of", *(MEASURES.get(measure, measure) for measure in measures), "labels")
    fitted = any(tensors.get(name, {}).get(LABELS) not in (None, NEVER, "not fitted") for name in derivatives)
    is_told = any(LABELS in entry for entry in tensors.values())
    note = VALUES_ALONE if is_told and derivatives and not fitted else ""
    return TextTable(f"errors of the trained function against {against}", columns, tuple(rows), note)


def gate_table(entry: Any) -> TextTable | None:
    """Return what the gate said when the package was exported; None where there was none.

    Args:
        entry: of the card's checks, or ``Verdict.to_dict()``.
    """
    verdict = _dict(entry)
    tensors = {name: _dict(tensor) for name, tensor in _dict(verdict.get("tensors")).items()}
    if not tensors:
        return None
    baseline = _dict(verdict.get("baseline"))
    beside = ", ".join(_short(baseline[key]) for key in ("version", "which") if key in baseline)
    rows = [
        (
            _short(name),
            *(_short(tensor.get(key)) for key in ("old", "new", "ratio")),
            _short(tensor.get("allowed") if tensor.get("old") is not None else None),
            _short(tensor.get("labels", "-")),
            ("ok" if tensor.get("passed") is True else "WORSE") if tensor.get("old") is not None else "-",
        )
        for name, tensor in tensors.items()
    ]
    about = f"{_short(verdict.get('rows', 'some'))} rows of {_short(verdict.get('against', 'a file'))}"
    title = f"the gate: {about}, " + (f"beside version {beside}" if beside else "no version to compare with")
    forced = f"published all the same: {_short(verdict['forced'])}" if verdict.get("forced") is not None else ""
    columns = ("rmse of", "old", "new", "new / old", "allowed", "labels", "")
    return TextTable(title, columns, tuple(rows), forced)


def read_checks(checks: Any) -> tuple[Check, ...]:
    """Read the checks of a card; what is not of their form is left out."""
    entries = ((place, kind, _dict(_dict(checks).get(kind.name))) for place, kind in enumerate(CHECKS, 1))
    return tuple(
        Check(place, kind.name, kind.title, _findings(entry), _short(entry["skipped"]) if entry.get("skipped") else "")
        for place, kind, entry in entries
        if entry
    )


def _findings(entry: Mapping[str, Any]) -> tuple[Finding, ...]:
    findings = tuple(_finding(_dict(item)) for item in _list(entry.get("findings")) if isinstance(item, dict))
    if entry.get("passed") is True or entry.get("skipped") or not all(finding.passed for finding in findings):
        return findings
    return (*findings, Finding("not recorded as passed", failed=True))


def _finding(item: Mapping[str, Any]) -> Finding:
    worst = item.get("worst")
    value = float(worst) if isinstance(worst, (int, float)) and not isinstance(worst, bool) else None
    passed = item.get("passed") is True
    if value is None and not passed:
        value = math.inf  # JSON has no infinity: a card has null
    return Finding(_short(item.get("subject", "")), value, note=_short(item.get("note", "")), failed=not passed)


def verdict(item: Check | Finding) -> str:
    """Return ``ok`` or ``WRONG``; for a check also ``skipped``, for a finding ``-`` where nothing was measured."""
    if isinstance(item, Check) and item.skipped:
        return "skipped"
    if not item.passed:
        return "WRONG"
    return "-" if isinstance(item, Finding) and item.worst is None else "ok"


def worst(check: Check) -> float | None:
    """Return the worst finding of a check, in units of what is allowed; None where nothing was measured."""
    return max((finding.worst for finding in check.findings if finding.worst is not None), default=None)


def _reference(reference: Mapping[str, Any]) -> str:
    """Describe a card's reference points in a line."""
    if not reference:
        return ""
    method = _short(reference.get("method", "unknown"))
    line = f"{_short(reference.get('points', 'some'))} points; method: {method}"
    differences = [_dict(entry).get("relative") for entry in _dict(reference.get("differences")).values()]
    numbers = [float(value) for value in differences if isinstance(value, (int, float))]
    return f"{line}; within {max(numbers):.2g} of finite differences" if numbers else line


def _input(tensor: CardTensor) -> tuple[str, ...]:
    bounds = tensor.domain
    domain = "unknown" if bounds is None else f"{_bound(bounds.lower)} to {_bound(bounds.upper)}"
    return tensor.name, tensor.dtype, _row_shape(tensor), tensor.unit or "-", domain


def _output(card: Card, tensor: CardTensor) -> tuple[str, ...]:
    derivatives = ", ".join(f"{name} wrt {wrt}" for wrt, name in card.derivatives.get(tensor.name, {}).items())
    return tensor.name, tensor.dtype, _row_shape(tensor), tensor.unit or "-", derivatives


def _range(distances: Any) -> str:
    """Return the smallest and the largest of the distances of two species, as text."""
    lower, upper = _list(distances.lower), _list(distances.upper)
    return f"{_short(lower[0] if lower else None)} to {_short(upper[-1] if upper else None)}"


def _row_shape(tensor: CardTensor) -> str:
    return ", ".join(str(size) for size in tensor.shape) or "1"


def _bound(value: Any) -> str:
    elements = _list(value)
    return _short(elements[0] if len(elements) == 1 else value)


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each entry by its path; null and lists of objects are left to the JSON."""
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _flat(_dict(value), f"{prefix}{key}.")
        elif value is not None and not any(isinstance(each, dict) for each in _list(value)):
            yield f"{prefix}{key}", _short(value)


def _dict(value: Any) -> dict[str, Any]:
    return {**value} if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return [*value] if isinstance(value, list) else [value]


def _short(value: Any) -> str:
    text = number(value) if value is None or isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
