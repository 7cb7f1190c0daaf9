"""The roles of a table's columns by their names: inputs, outputs, derivatives, directions."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np

from gradwire._errors import DataError
from gradwire._package import (
    Alias,
    Names,
    check_aliases,
    check_names,
    derivative_name,
    derivative_shape,
    own_names,
    read_declared,
    tangent_name,
)
from gradwire._tables import Elements, elements_of, join
from gradwire_training._data.columns import NUMBER_KINDS
from gradwire_training._data.label_names import is_second, label_guess
from gradwire_training._data.read import LazyTable

SHOWN: Final = 12  # columns in a message or a note

Declared: TypeAlias = "Mapping[str, Sequence[str]]"  # name -> output, with a sign or factor; input; column
Pair: TypeAlias = tuple[str, str]  # an output and an input


@final
@dataclass(frozen=True, slots=True)
class Label:
    """The column of a derivative, which is the derivative times a factor."""

    column: str
    factor: float = 1.0


@final
@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of a table's columns; a column of several elements goes by the name before its brackets."""

    inputs: Mapping[str, str]  # name in the model -> column
    outputs: Mapping[str, str]
    labels: Mapping[Pair, Label]  # of partial derivatives
    tangents: Mapping[str, str]  # input or output -> the column of its directions, or of derivatives along them
    aliases: Mapping[str, Alias]
    bases: Mapping[str, Elements]  # name -> its columns: one, with the index (), or one an element
    weights: str | None  # the column of the rows' weights
    notes: tuple[str, ...]  # which column has which role, and which are left out

    @classmethod
    def of(
        cls,
        table: LazyTable,
        inputs: Names | None,
        outputs: Names | None,
        derivatives: Declared | None = None,
        ignore: Collection[str] = (),
        weights: str | None = None,
    ) -> Roles:
        """Assign the columns their roles; inputs or outputs that are None are inferred from the derivatives' names."""
        bases = elements_of(table.names, table.what)
        declared = {name: read_declared(name, parts) for name, parts in (derivatives or {}).items()}
        aliases = {name: alias for name, (alias, _) in declared.items()}
        free = [name for name in bases if name not in ignore and name != weights]
        if inputs is None or outputs is None:
            inputs, outputs = _inferred(free, inputs, outputs, list(aliases.values()), table.what)
        x, y = own_names(inputs), own_names(outputs)
        claims = [
            *((column, "an input") for column in x.values()),
            *((column, "an output") for column in y.values()),
            *((column, "a derivative") for _, column in declared.values()),
            *((column, "ignored") for column in ignore),
            *((column, "the weights") for column in (weights,) if column is not None),
        ]
        columns: dict[str, str] = {}
        for column, role in claims:
            if column not in bases:
                close = difflib.get_close_matches(column, bases, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ": use one of those"
                raise DataError(f"{table.what} has no column {column!r}, it has {_listed(list(bases))}{hint}")
            if column in columns:
                raise DataError(f"the column {column!r} is {columns[column]} and {role}: give it one role")
            columns[column] = role
        check_names(x, y)
        check_aliases(aliases, list(x), list(y))
        open_ = [name for name in free if name not in columns]
        labels = {(alias.output, alias.input): Label(column, alias.factor) for alias, column in declared.values()}
        for pair, names in _contract_labels(x, y).items():
            present = [name for name in names if name in open_]
            if len(present) + (pair in labels) > 1:
                both = [*present, *(label.column for other, label in labels.items() if other == pair)]
                raise DataError(
                    f"the columns {both} are one derivative, {names[0]}: name all but one in ignore (--ignore)"
                )
            if present:
                labels[pair] = Label(present[0])
        tangents = _tangent_columns(x, y, open_)
        used = {*columns, *(label.column for label in labels.values()), *tangents.values()}
        left_out = _left_out(table, bases, [name for name in free if name not in used], x, y)
        notes = _notes(x, y, labels, aliases, tangents, [*left_out, *(name for name in bases if name in ignore)])
        if weights is not None:
            notes.append(f"rows are weighted by {weights}")
        return cls(x, y, labels, tangents, aliases, bases, weights, tuple(notes))

    @property
    def columns(self) -> list[str]:
        """The columns that are read, as the table calls them."""
        labels = [label.column for label in self.labels.values()]
        weights = () if self.weights is None else (self.weights,)
        used = (*self.inputs.values(), *self.outputs.values(), *labels, *self.tangents.values(), *weights)
        return [column for name in used for column in self.bases[name].values()]

    def arrays(self, table: LazyTable) -> dict[str, Any]:
        """Read the columns, as the arguments of ``Samples``."""
        x = {name: self._read(table, column) for name, column in self.inputs.items()}
        y = {name: self._read(table, column) for name, column in self.outputs.items()}
        dydx: dict[str, dict[str, Any]] = {}
        for output, values in y.items():
            for wrt, points in x.items():
                if (label := self.labels.get((output, wrt))) is not None:
                    column = self._read(table, label.column, _derivative_shape(values, points))
                    dydx.setdefault(output, {})[wrt] = column if label.factor == 1 else column / label.factor
        return {
            "x": x,
            "y": y,
            "dydx": dydx,
            "x_dot": self._tangents(table, x),
            "y_dot": self._tangents(table, y),
            "weights": None if self.weights is None else self._read(table, self.weights),
            "weight_column": self.weights,
            "aliases": self.aliases,
        }

    def _tangents(self, table: LazyTable, names: Iterable[str]) -> dict[str, Any] | None:
        return {name: self._read(table, self.tangents[name]) for name in names if name in self.tangents} or None

    def _read(self, table: LazyTable, base: str, shape: tuple[int, ...] | None = None) -> Any:
        """Read a column, or one column an element; elements that a derivative lacks are missing labels."""
        array = join(base, self.bases[base], table.read, shape)
        unknown = shape is not None and array.ndim == 1 and array.dtype.kind == "f" and np.isnan(array).all()
        return np.full((len(array), *shape), np.nan) if unknown and shape else array


def _inferred(
    names: list[str], inputs: Names | None, outputs: Names | None, declared: Sequence[Alias], what: str
) -> tuple[Names, Names]:
    """Return the inputs and outputs that the derivatives tell; x and f alone are an input and an output, too."""
    pairs = {(a, b) for a in names for b in names if a != b and derivative_name(a, b) in names}
    pairs |= {(alias.output, alias.input) for alias in declared}
    if outputs is None:
        outputs = [name for name in names if any(a == name for a, _ in pairs)]
    if inputs is None:
        inputs = [name for name in names if any(b == name and a in own_names(outputs) for a, b in pairs)]
    if not pairs and {"x", "f"} <= set(names):
        inputs, outputs = inputs or ["x"], outputs or ["f"]
    if not outputs or not inputs or set(own_names(outputs)) & set(own_names(inputs)):
        raise DataError(
            f"the columns of {what} do not tell which are inputs and which outputs: {_listed(names)}; "
            "name them: inputs and outputs (--inputs spot,vol --outputs price)"
        )
    return inputs, outputs


def _contract_labels(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> dict[Pair, list[str]]:
    """Return the names by which the contract knows the column of each derivative: the model's, or the columns' own."""
    return {
        (output, wrt): list(dict.fromkeys([derivative_name(output, wrt), derivative_name(own, own_input)]))
        for output, own in outputs.items()
        for wrt, own_input in inputs.items()
    }


def _tangent_columns(inputs: Mapping[str, str], outputs: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return the columns of directions, and of derivatives along them, by input and output."""
    x_dot, y_dot = (
        {
            name: column
            for name, own in side.items()
            for column in dict.fromkeys([tangent_name(name), tangent_name(own)])
            if column in names
        }
        for side in (inputs, outputs)
    )
    if x_dot and not y_dot:
        (name, column), *_ = x_dot.items()
        new = column.replace("_", "")
        raise DataError(
            f"the column {column!r} would be a direction of {name!r}, and no column is a derivative along it: if it is an "
            f'input, map it to another name (--inputs "{",".join(inputs)},{new}={column}"); or name it in ignore (--ignore)'
        )
    return x_dot | y_dot


def _left_out(
    table: LazyTable,
    bases: Mapping[str, Elements],
    names: list[str],
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
) -> list[str]:
    """Return the columns without a role, none of which holds numbers; raise where one does."""
    numeric = [name for name in names if any(_holds_numbers(table, column) for column in bases[name].values())]
    if not numeric:
        return names
    guesses = {name: guess for name in numeric if (guess := label_guess(name, list(inputs), list(outputs)))}
    ways = [
        f'put into inputs what is an input (--inputs "{",".join([*inputs, *(numeric if not guesses else ["…"])])}")'
    ]
    if guesses:
        told = ", ".join(f"{name}={guess}" for name, guess in guesses.items())
        ways.insert(0, f'say which derivative {_listed(list(guesses))} is (--derivatives "{told}")')
    seconds = [name for name in numeric if is_second(name)]
    why = f"; a fit takes no second derivatives, as {_listed(seconds)} may be" if seconds else ""
    raise DataError(
        f"{table.what} has numbers in {_listed(numeric)}, which {'are' if len(numeric) > 1 else 'is'} neither input, output "
        f'nor derivative: {", ".join(ways)}, or leave out by name what is neither (--ignore "{",".join(numeric)}"){why}'
    )


def _holds_numbers(table: LazyTable, column: str) -> bool:
    try:
        array = np.asarray(table.read(column))
    except (DataError, ValueError):  # text, dates, truth values, or rows of different lengths
        return False
    return array.dtype.kind in NUMBER_KINDS and not (array.dtype.kind == "f" and np.isnan(array).all())


def _notes(
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    labels: Mapping[Pair, Label],
    aliases: Mapping[str, Alias],
    tangents: Mapping[str, str],
    left_out: Sequence[str],
) -> list[str]:
    def listed(columns: Mapping[str, str]) -> str:
        return ", ".join(name if name == column else f"{name} ({column})" for name, column in columns.items())

    declared = {(alias.output, alias.input): f"{name} = {alias.text}" for name, alias in aliases.items()}
    derivatives = [declared.get(pair, label.column) for pair, label in labels.items()]
    told = ", ".join([*derivatives, *tangents.values()]) or "none"
    notes = [f"inputs {listed(inputs)}; outputs {listed(outputs)}; derivatives {told}"]
    if left_out:
        notes.append(f"columns left out: {_listed(left_out)}")
    return notes


def _derivative_shape(output: Any, wrt: Any) -> tuple[int, ...]:
    rows = (np.shape(output)[1:] or (1,), np.shape(wrt)[1:] or (1,))
    return derivative_shape(*rows)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
