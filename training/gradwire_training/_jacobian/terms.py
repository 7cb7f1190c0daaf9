"""Where a loss's terms lie among a network's answers and in their Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradwire_training._jacobian.dense_network import Columns
    from gradwire_training._objective import Objective, Term

Array: TypeAlias = "NDArray[np.float64]"


@final
@dataclass(frozen=True, slots=True)
class Widths:
    """The numbers of all ports in a row: outputs, and the inputs that some term differentiates by.

    Attributes:
        ports: an input's rows ``(rows, width)`` and its tangents ``(input numbers, width)``, in the model's order.
        known: ``(rows, output numbers)``: the known values, NaN elsewhere.
        given: output -> its place among the output numbers.
        taken: input -> its place among the input numbers, where a term differentiates by it.
    """

    ports: tuple[tuple[Array, Array], ...]
    known: Array
    given: dict[str, slice]
    taken: dict[str, slice]

    @property
    def outputs(self) -> int:
        """How many output numbers there are."""
        return self.known.shape[1]

    @property
    def inputs(self) -> int:
        """How many input numbers are differentiated by."""
        return max((place.stop for place in self.taken.values()), default=0)

    @classmethod
    def of(cls, objective: Objective) -> Widths:
        """Lays out an objective's ports."""
        x, ports = objective.x, objective.ports
        rows = {name: column.reshape(len(column), -1).astype(np.float64) for name, column in x.items()}
        wanted = {name for term in objective.terms for name in term.wrt}
        taken = _places({port.name: rows[port.name].shape[1] for port in ports.inputs if port.name in wanted})
        known = {port.name: objective.known[port.name] for port in ports.outputs}
        flat = {name: column.reshape(len(column), -1) for name, column in known.items()}
        given = _places({name: column.shape[1] for name, column in flat.items()})
        numbers = max((place.stop for place in taken.values()), default=0)
        tangents = {name: np.zeros((numbers, column.shape[1])) for name, column in rows.items()}
        for name, place in taken.items():
            tangents[name][place] = np.eye(place.stop - place.start)
        return cls(
            ports=tuple((rows[port.name], tangents[port.name]) for port in ports.inputs),
            known=np.concatenate(list(flat.values()), axis=1),
            given=given,
            taken=taken,
        )


@final
@dataclass(frozen=True, slots=True)
class Reading:
    """One term, read from all answers.

    Attributes:
        output: its place among the output numbers.
        wrt: its place among the input numbers, for a partial derivative.
        along: ``(rows, input numbers)``, for a derivative along directions.
        labels: ``(rows, numbers)``, zero where nothing is known.
        present: bool, the same shape.
        factor: ``(numbers,)``.
    """

    output: slice
    wrt: slice | None
    along: Array | None
    labels: Array
    present: NDArray[np.bool_]
    factor: Array

    @classmethod
    def of(cls, term: Term, widths: Widths) -> Reading:
        """Finds a term's place."""
        labels = term.labels.reshape(len(term.labels), -1)
        present = np.isfinite(labels)
        along = None
        if term.along:
            along = np.zeros((len(labels), widths.inputs))
            for name, part in term.along.items():
                along[:, widths.taken[name]] = part.reshape(len(part), -1)
        return cls(
            output=widths.given[term.output],
            wrt=widths.taken[term.wrt[0]] if term.wrt and not term.along else None,
            along=along,
            labels=np.where(present, labels, 0.0),
            present=present,
            factor=np.broadcast_to(term.factor, term.labels.shape[1:]).ravel(),
        )

    @property
    def count(self) -> int:
        """How many labels are known."""
        return int(self.present.sum())

    def errors(self, values: Array, slopes: Array, rows: slice) -> Array:
        """Gives the errors of some rows, in their units.

        Args:
            values: ``(rows, output numbers)``.
            slopes: ``(rows, output numbers, input numbers)``.
            rows: which of all rows they are.
        """
        if self.along is not None:
            answer = np.einsum("boi,bi->bo", slopes[:, self.output], self.along[rows])
        elif self.wrt is not None:
            answer = slopes[:, self.output, self.wrt].reshape(len(slopes), -1)
        else:
            answer = values[:, self.output]
        return ((answer - self.labels[rows]) * self.factor)[self.present[rows]]

    def columns(self, columns: Columns, rows: slice) -> Array:
        """Gives the Jacobian of ``errors``, ``(errors, weights)``."""
        if self.along is not None:
            answer = np.einsum("boip,bi->bop", columns.slopes[:, self.output], self.along[rows])
        elif self.wrt is not None:
            size, _, _, weights = columns.slopes.shape
            answer = columns.slopes[:, self.output, self.wrt].reshape(size, -1, weights)
        else:
            answer = columns.values[:, self.output]
        present = self.present[rows]
        if present.all():
            return (answer * self.factor[:, None]).reshape(-1, answer.shape[-1])
        return answer[present] * np.broadcast_to(self.factor, present.shape)[present][:, None]


def _places(widths: dict[str, int]) -> dict[str, slice]:
    places: dict[str, slice] = {}
    first = 0
    for name, width in widths.items():
        places[name] = slice(first, first + width)
        first += width
    return places
