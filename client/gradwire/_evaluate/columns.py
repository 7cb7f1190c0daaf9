"""Which column of a file holds which tensor of a package."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from gradwire._errors import DataError, UsageError
from gradwire._package import Card, check_aliases, derivative_name, derivative_shape, read_declared

Declared = dict[tuple[str, str], "tuple[str, str, float]"]  # output and input -> column, name, factor


@final
@dataclass(frozen=True, slots=True)
class LabelColumn:
    """A column of labels.

    Attributes:
        name: of the tensor for people: the output's, the derivative's, or the alias that the column has.
        tensor: its name in the package.
        output: the output, or the one that is differentiated.
        input: with respect to which it is; empty for a value.
        shape: of a row.
        column: in the file.
        dtype: of the tensor.
        factor: the labels are the tensor times this.
    """

    name: str
    tensor: str
    output: str
    input: str
    shape: tuple[int, ...]
    column: str
    dtype: str
    factor: float = 1.0

    @property
    def size(self) -> int:
        """The number of elements of a row."""
        return int(np.prod(self.shape))


@final
@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a file that are evaluated.

    Attributes:
        inputs: by the input's name.
        labels: outputs, then derivatives, in the card's order.
        unlabelled: the tensors of which there is no column.
        left_out: the columns that are none of these.
    """

    inputs: Mapping[str, str]
    labels: tuple[LabelColumn, ...]
    unlabelled: tuple[str, ...]
    left_out: tuple[str, ...]

    @classmethod
    def of(
        cls,
        card: Card,
        columns: Collection[str],
        what: str,
        *,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        derivatives: Mapping[str, Sequence[str]],
    ) -> Columns:
        """Match the columns of a file to a card (see ``evaluate``).

        Raises:
            UsageError: a name that the package does not have.
            DataError: a column is missing, two are one tensor, or none is a label.
        """
        x = _by_name("input", [tensor.name for tensor in card.inputs], inputs)
        y = _by_name("output", [tensor.name for tensor in card.outputs], outputs)
        declared = _declared(card, derivatives)
        required = [*x.values(), *outputs.values(), *(column for column, _, _ in declared.values())]
        if missing := [column for column in required if column not in columns]:
            raise DataError(
                f"{what} has no column {missing[0]!r}, it has {', '.join(columns)}: name the column of each input of "
                "another name (--inputs NAME=COLUMN,…), and likewise outputs and derivatives"
            )
        labels = (*_values(card, y, columns), *_derivatives(card, x, y, declared, columns))
        used = [*x.values(), *(label.column for label in labels)]
        if twice := [column for column in used if used.count(column) > 1]:
            raise DataError(f"the column {twice[0]!r} stands for two tensors: give each a column of its own")
        if not labels:
            raise DataError(
                f"{what} has no labels: none of its columns {', '.join(columns)} is one of {', '.join(_tensors(card))}; "
                "name them: --outputs NAME=COLUMN,… and --derivatives NAME=COLUMN=OUTPUT:INPUT,…"
            )
        labelled = {label.tensor for label in labels}
        return cls(
            x,
            labels,
            tuple(tensor for tensor in _tensors(card) if tensor not in labelled),
            tuple(column for column in columns if column not in used),
        )


def _tensors(card: Card) -> Iterator[str]:
    yield from (tensor.name for tensor in card.outputs)
    yield from (tensor for by_input in card.derivatives.values() for tensor in by_input.values())


def _by_name(role: str, names: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    if unknown := [name for name in columns if name not in names]:
        raise UsageError(
            f"{role}s names {unknown[0]!r}, expected one of {list(names)}: NAME=COLUMN, the package's first"
        )
    return {name: columns.get(name, name) for name in names}


def _declared(card: Card, derivatives: Mapping[str, Sequence[str]]) -> Declared:
    declared = {name: read_declared(name, parts) for name, parts in derivatives.items()}
    aliases = {name: alias for name, (alias, _) in declared.items()}
    wrt = [tensor.name for tensor in card.inputs if any(tensor.name in by for by in card.derivatives.values())]
    check_aliases(aliases, [tensor.name for tensor in card.inputs], [tensor.name for tensor in card.outputs], wrt)
    return {(alias.output, alias.input): (column, name, alias.factor) for name, (alias, column) in declared.items()}


def _values(card: Card, y: Mapping[str, str], columns: Collection[str]) -> Iterable[LabelColumn]:
    for tensor in card.outputs:
        if (column := y[tensor.name]) in columns:
            name, shape = tensor.name, tensor.shape or (1,)
            yield LabelColumn(name, name, name, "", shape, column, tensor.dtype)


def _derivatives(
    card: Card, x: Mapping[str, str], y: Mapping[str, str], declared: Declared, columns: Collection[str]
) -> Iterable[LabelColumn]:
    row_shapes = {tensor.name: tensor.shape or (1,) for tensor in card.inputs}
    aliases = {card.derivative_of(name): (name, name, alias.factor) for name, alias in card.aliases.items()}
    for output in card.outputs:
        for wrt, tensor in card.derivatives.get(output.name, {}).items():
            own = derivative_name(y[output.name], x[wrt])
            ways = [(tensor, tensor, 1.0), (own, tensor, 1.0), aliases.get(tensor), declared.get((output.name, wrt))]
            named = {way[0]: way for way in ways if way is not None and way[0] in columns}
            if len(named) > 1:
                raise DataError(f"the columns {list(named)} are one derivative, {tensor}: name all but one in ignore")
            for column, name, factor in named.values():
                shape = derivative_shape(output.shape, row_shapes[wrt])
                yield LabelColumn(name, tensor, output.name, wrt, shape, column, output.dtype, factor)
