r"""Which elements of a Jacobian's rows and columns are swept together, and in which direction.

A reverse sweep from an output element yields a row of the Jacobian, a forward product along an input element a column.
Each pair of an output and an input needs one of both: its rows or its columns. The cheapest choice is a minimum-weight
vertex cover of the bipartite graph of the pairs, weights being how many sweeps an output or products an input needs.

Rows that have no column in common can be swept together, for every entry of the sum then belongs to one of them: they
are *structurally orthogonal* (Curtis, Powell and Reid, 1974). A proper colouring of the graph of their conflicts, by
falling degree (Welsh and Powell, 1967), makes few groups of all rows; the same for columns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final, TypeAlias, final

import numpy as np

Element: TypeAlias = tuple[str, int]  # an output or an input, and the number of one of its elements
Group: TypeAlias = tuple[Element, ...]  # elements that are swept together
Pair: TypeAlias = tuple[str, str]  # an output and an input
Structure: TypeAlias = Mapping[Pair, np.ndarray]  # bool (output elements, input elements)

# A forward product is two sweeps, of which the first is shared: 1.1 to 1.4 times a sweep in dense networks.
PRODUCT: Final = 1.25
MOST_SUBSETS: Final = 12  # inputs, or outputs, of which every subset is tried
MOST_COLOURED: Final = 4096  # elements; more are swept one by one


@final
@dataclass(frozen=True)
class Plan:
    """How a Jacobian is computed.

    Attributes:
        backward: groups of output elements, a reverse sweep from each.
        forward: groups of input elements, a forward product along each.
        pushed: the pairs (output, input) whose derivatives come from forward products; those of the others come from
            sweeps.
        structure: of the pairs that have entries which are zero whatever the inputs: False where they are.
    """

    backward: tuple[Group, ...]
    forward: tuple[Group, ...] = ()
    pushed: frozenset[Pair] = frozenset()
    structure: Structure = field(default_factory=dict[Pair, np.ndarray])

    @property
    def n_sweeps(self) -> int:
        """How many sweeps and products there are."""
        return len(self.backward) + len(self.forward)

    @classmethod
    def of_every_element(cls, outputs: Mapping[str, int]) -> Plan:
        """Plan a reverse sweep from each element of some outputs, whose sizes are given."""
        return cls(tuple(((name, element),) for name, size in outputs.items() for element in range(size)))


def places(groups: Sequence[Group], name: str, size: int) -> list[int]:
    """Return the group of each element of an output or input; -1 where it is in none, for its entries are zero."""
    where = {element: index for index, group in enumerate(groups) for element in group}
    return [where.get((name, element), -1) for element in range(size)]


@final
@dataclass(frozen=True)
class Blocks:
    """The Jacobian that is to be computed: the sizes of its blocks, and what is known of their entries.

    Attributes:
        differentiated: output -> the inputs that it is differentiated with respect to; it depends on no other.
        outputs: elements of each output.
        inputs: elements of each input.
        structure: of the pairs that have entries which are zero whatever the inputs.
    """

    differentiated: Mapping[str, Sequence[str]]
    outputs: Mapping[str, int]
    inputs: Mapping[str, int]
    structure: Structure = field(default_factory=dict[Pair, np.ndarray])

    @property
    def pairs(self) -> list[Pair]:
        """Every pair that is computed."""
        return [(output, wrt) for output, inputs in self.differentiated.items() for wrt in inputs]

    def swept(self) -> Plan:
        """Plan reverse sweeps alone."""
        return Plan(self._groups_of_outputs(self.pairs), structure=self.structure)

    def pushed(self) -> Plan:
        """Plan forward products alone."""
        return Plan((), self._groups_of_inputs(self.pairs), frozenset(self.pairs), self.structure)

    def cheapest(self, product: float = PRODUCT) -> Plan:
        """Plan sweeps and products, whichever is cheaper for each pair.

        Args:
            product: the cost of a forward product, in sweeps.
        """
        plans = [self.swept(), self.pushed(), *(self.mixed(chosen) for chosen in self.subsets())]
        return min(plans, key=lambda plan: len(plan.backward) + product * len(plan.forward))

    def subsets(self) -> list[frozenset[Pair]]:
        """Return the sets of pairs to push that may be the best: those of some inputs, or of all but some outputs."""
        inputs = list(dict.fromkeys(wrt for _, wrt in self.pairs))
        outputs = list(self.differentiated)
        if min(len(inputs), len(outputs)) > MOST_SUBSETS:
            return []
        if len(inputs) <= len(outputs):
            return [
                frozenset(pair for pair in self.pairs if pair[1] in chosen)
                for size in range(1, len(inputs))
                for chosen in combinations(inputs, size)
            ]
        return [
            frozenset(pair for pair in self.pairs if pair[0] not in chosen)
            for size in range(1, len(outputs))
            for chosen in combinations(outputs, size)
        ]

    def mixed(self, pushed: frozenset[Pair]) -> Plan:
        """Plan products for some pairs, and sweeps for the others."""
        swept = [pair for pair in self.pairs if pair not in pushed]
        return Plan(self._groups_of_outputs(swept), self._groups_of_inputs(list(pushed)), pushed, self.structure)

    def _groups_of_outputs(self, pairs: Sequence[Pair]) -> tuple[Group, ...]:
        return _groups(self.outputs, self.inputs, self._entries, pairs)

    def _groups_of_inputs(self, pairs: Sequence[Pair]) -> tuple[Group, ...]:
        turned = {(wrt, output): None if known is None else known.T for (output, wrt), known in self._entries.items()}
        return _groups(self.inputs, self.outputs, turned, [(wrt, output) for output, wrt in pairs])

    @property
    def _entries(self) -> dict[Pair, np.ndarray | None]:
        return {pair: self.structure.get(pair) for pair in self.pairs}


def _groups(
    rows: Mapping[str, int],
    columns: Mapping[str, int],
    blocks: Mapping[Pair, np.ndarray | None],
    needed: Collection[Pair],
) -> tuple[Group, ...]:
    """Group the row elements of some of the blocks so that no two of a group disturb each other.

    They do where both have an entry in a column and one of both is needed. Groups are in the order of their first
    element; rows that have nothing that is needed are in none. A block of None is dense, one that is not there is zero.
    """
    used = [name for name in rows if any(name == row for row, _ in needed)]
    elements = [(name, element) for name in used for element in range(rows[name])]
    alone = all(blocks[pair] is None for pair in needed) and len(used) < 2  # noqa: PLR2004 - nothing beside it
    if alone or len(elements) > MOST_COLOURED:
        return tuple((element,) for element in elements)

    def matrix(pairs: Collection[Pair]) -> np.ndarray:
        return np.vstack(
            [
                np.hstack([_block(blocks, pairs, (row, column), (rows[row], columns[column])) for column in columns])
                for row in used
            ]
        )

    return tuple(tuple(elements[i] for i in group) for group in _coloured(matrix(needed), matrix(blocks.keys())))


def _block(
    blocks: Mapping[Pair, np.ndarray | None], pairs: Collection[Pair], pair: Pair, shape: tuple[int, int]
) -> np.ndarray:
    known = blocks.get(pair) if pair in pairs else None
    return np.full(shape, pair in pairs) if known is None else known


def _coloured(needed: np.ndarray, entries: np.ndarray) -> list[list[int]]:
    """Group rows that do not conflict, greedily by falling number of conflicts; without rows that nothing needs."""
    conflicts = needed.astype(np.float32) @ entries.T.astype(np.float32) > 0
    conflicts |= conflicts.T
    groups: list[list[int]] = []
    blocked: list[np.ndarray] = []  # by group, the rows that conflict with one of it
    for row in np.argsort(-conflicts.sum(axis=1), kind="stable"):
        if not needed[row].any():
            continue
        free = next((index for index, rows in enumerate(blocked) if not rows[row]), None)
        if free is None:
            groups.append([int(row)])
            blocked.append(conflicts[row].copy())
        else:
            groups[free].append(int(row))
            blocked[free] |= conflicts[row]
    return sorted((sorted(group) for group in groups), key=lambda group: group[0])
