"""The roles of a table's columns by their names: inputs, outputs, derivatives, directions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from gradwire._errors import DataError
from gradwire._package import check_names, derivative_name, derivative_shape, tangent_name
from gradwire._tables import Elements, elements_of, join
from gradwire_training._data.read import LazyTable

SHOWN: Final = 12  # columns in a message or a note


@final
@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of a table's columns."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bases: Mapping[str, Elements]  # name -> its columns: one, with the index (), or one an element
    notes: tuple[str, ...]  # which column has which role, and which are left out

    @classmethod
    def of(cls, table: LazyTable, inputs: Sequence[str] | None, outputs: Sequence[str] | None) -> Roles:
        """Assign the columns their roles; inputs or outputs that are None are inferred from the derivatives' names."""
        bases = elements_of(table.names, table.what)
        if inputs is None or outputs is None:
            inputs, outputs = _inferred(list(bases), inputs, outputs, table.what)
        for name in (*inputs, *outputs):
            if name not in bases:
                close = difflib.get_close_matches(name, bases, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ": use one of those"
                raise DataError(f"{table.what} has no column {name!r}, it has {_listed(list(bases))}{hint}")
        check_names(inputs, outputs)
        return cls(tuple(inputs), tuple(outputs), bases, tuple(_notes(bases, inputs, outputs)))

    @property
    def columns(self) -> list[str]:
        """The columns that are read, as the table calls them."""
        used = (*self.inputs, *self.outputs, *_derivatives_and_tangents(self.bases, self.inputs, self.outputs))
        return [column for name in used for column in self.bases[name].values()]

    def arrays(self, table: LazyTable) -> dict[str, Any]:
        """Read the columns, as the arguments of ``Samples``."""
        x = {name: self._read(table, name) for name in self.inputs}
        y = {name: self._read(table, name) for name in self.outputs}
        dydx = {
            output: {
                wrt: self._read(table, derivative_name(output, wrt), _derivative_shape(y[output], x[wrt]))
                for wrt in self.inputs
                if derivative_name(output, wrt) in self.bases
            }
            for output in self.outputs
        }
        return {
            "x": x,
            "y": y,
            "dydx": {output: by_input for output, by_input in dydx.items() if by_input},
            "x_dot": self._tangents(table, x),
            "y_dot": self._tangents(table, y),
        }

    def _tangents(self, table: LazyTable, names: Iterable[str]) -> dict[str, Any] | None:
        tangents = {name: tangent_name(name) for name in names if tangent_name(name) in self.bases}
        return {name: self._read(table, column) for name, column in tangents.items()} or None

    def _read(self, table: LazyTable, base: str, shape: tuple[int, ...] | None = None) -> Any:
        """Read a column, or one column an element; elements that a derivative lacks are missing labels."""
        array = join(base, self.bases[base], table.read, shape)
        unknown = shape is not None and array.ndim == 1 and array.dtype.kind == "f" and np.isnan(array).all()
        return np.full((len(array), *shape), np.nan) if unknown and shape else array


def _inferred(
    names: list[str], inputs: Sequence[str] | None, outputs: Sequence[str] | None, what: str
) -> tuple[list[str], list[str]]:
    """Return the inputs and outputs that the derivatives' names tell; x and f alone are an input and an output, too."""
    pairs = {(a, b) for a in names for b in names if a != b and derivative_name(a, b) in names}
    if outputs is None:
        outputs = [name for name in names if any(a == name for a, _ in pairs)]
    if inputs is None:
        inputs = [name for name in names if any(b == name and a in outputs for a, b in pairs)]
    if not pairs and {"x", "f"} <= set(names):
        inputs, outputs = inputs or ["x"], outputs or ["f"]
    if not outputs or not inputs or set(outputs) & set(inputs):
        raise DataError(
            f"the columns of {what} do not tell which are inputs and which outputs: {_listed(names)}; "
            "name them: inputs and outputs (--inputs spot,vol --outputs price)"
        )
    return list(inputs), list(outputs)


def _derivatives_and_tangents(
    bases: Mapping[str, Elements], inputs: Sequence[str], outputs: Sequence[str]
) -> list[str]:
    derivatives = [derivative_name(output, wrt) for output in outputs for wrt in inputs]
    tangents = [tangent_name(name) for name in (*inputs, *outputs)]
    return [name for name in (*derivatives, *tangents) if name in bases]


def _notes(bases: Mapping[str, Elements], inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    labels = _derivatives_and_tangents(bases, inputs, outputs)
    used = {*inputs, *outputs, *labels}
    notes = [f"inputs {', '.join(inputs)}; outputs {', '.join(outputs)}; derivatives {', '.join(labels) or 'none'}"]
    if unused := [name for name in bases if name not in used]:
        notes.append(f"columns left out: {_listed(unused)}")
    return notes


def _derivative_shape(output: Any, wrt: Any) -> tuple[int, ...]:
    rows = (np.shape(output)[1:] or (1,), np.shape(wrt)[1:] or (1,))
    return derivative_shape(*rows)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
