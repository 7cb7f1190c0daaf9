"""Samples in Parquet files that need not fit into memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError, UsageError
from gradwire._package import Names
from gradwire._tables import reading
from gradwire_training._data.read import PARQUET_FILES, LazyTable, arrow_table, open_parquet
from gradwire_training._data.roles import Roles
from gradwire_training._data.samples import Samples
from gradwire_training._data.split import SHARE

BLOCK_ROWS: Final = 262_144  # of the log problem: 6 MB; of 20 columns: 42 MB in float64
SEEN_ROWS: Final = 20_000  # enough for means and spreads to three digits, and for errors
LARGE: Final = 512 * 2**20  # bytes, uncompressed: in memory, all of it takes some three times as much
SPLIT: Final = 4  # streams of random numbers, apart from the other modules'
ORDER: Final = 5


@final
@dataclass(frozen=True, slots=True)
class Block:
    """Row groups that are held in memory together."""

    groups: tuple[int, ...]  # their numbers
    rows: int  # how many of theirs are fitted


@final
@dataclass(frozen=True, slots=True)
class _Group:
    """A row group: the part of a Parquet file that can be read on its own."""

    path: Path
    index: int
    rows: int
    first: int  # number of its first row in the file


@final
class Stream:
    """Rows of one Parquet file, or of all in a directory, read a few row groups at a time.

    Opening reads everything once: it checks every element, holds rows out, and retains some of the rows to learn
    means and spreads from. Memory holds two blocks, and the row groups that make them: write files with row groups of
    some 100,000 rows.

    Args:
        path: a Parquet file, or a directory with some.
        inputs: columns, in the model's order, or ``{name in the model: column}``; see ``Samples.read``.
        outputs: likewise.
        derivatives: columns of derivatives under names of their own; see ``Samples.read``.
        ignore: columns to leave out.
        weights: the column of the rows' weights; by default every row counts the same.
        units: input or output -> unit.
        holdout: fraction of the rows that are held out to measure on; 20,000 rows at most.
        seed: of the rows held out, and of the order of blocks.
        block_rows: rows held at a time; a larger row group is held whole.

    Attributes:
        samples: some of the rows that are fitted.
        validation: the rows held out; None where there are none.
        count: number of rows that are fitted.
        capacity: most rows of a block.
        lower: smallest value of each input's elements over all rows, ``(row shape)``.
        upper: largest.
        notes: what was noticed, a line each.

    Raises:
        DataError: a file cannot be read, has no such column, or holds something that is not a number.
        UsageError: a setting out of range.
        MissingExtra: pyarrow is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        inputs: Names | None = None,
        outputs: Names | None = None,
        derivatives: Mapping[str, Sequence[str]] | None = None,
        ignore: Collection[str] = (),
        weights: str | None = None,
        units: Mapping[str, str] | None = None,
        holdout: float = SHARE,
        seed: int = 0,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        if not 0 <= holdout < 1:
            raise UsageError(f"holdout {holdout}, expected 0 or more and below 1")
        if block_rows < 1:
            raise UsageError(f"block_rows {block_rows}, expected 1 or more")
        self._path = Path(path)
        self._groups = _groups_of(self._path)
        self._roles = Roles.of(_read_group(self._groups[0]), inputs, outputs, derivatives, ignore, weights)
        self._columns = {
            "derivatives": {name: list(parts) for name, parts in (derivatives or {}).items()},
            "ignore": list(ignore),
            "weights": weights,
        }
        self._units = dict(units or {})
        self._seed, self._block_rows = seed, block_rows
        total = sum(group.rows for group in self._groups)
        self._held_out = min(holdout, SEEN_ROWS / total)
        self._holdout = holdout
        self._survey(min(1.0, SEEN_ROWS / total))
        self.notes = (*self._roles.notes, f"{len(self._groups):,} row groups are read in turn, not all at once")

    @classmethod
    def suits(cls, path: str | Path) -> bool:
        """Return whether a path is of Parquet that is better read in turn: a directory, or above 512 MB.

        Raises:
            DataError: it is Parquet by its name, and cannot be read.
        """
        path = Path(path)
        if path.is_dir():
            return True
        if path.suffix.lower() not in PARQUET_FILES:
            return False
        metadata = open_parquet(path).metadata
        return sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)) > LARGE

    def settings(self) -> dict[str, Any]:
        """Return the arguments that open the same rows again, as plain data."""
        return {
            "path": str(self._path),
            "inputs": dict(self._roles.inputs),
            "outputs": dict(self._roles.outputs),
            **self._columns,
            "units": self._units,
            "holdout": self._holdout,
            "seed": self._seed,
            "block_rows": self._block_rows,
        }

    def blocks(self, epoch: int) -> list[Block]:
        """Return the blocks of an epoch: all row groups once, in a random order, as many together as fit.

        Args:
            epoch: counted from 0.
        """
        generator = np.random.default_rng(np.random.SeedSequence((self._seed, ORDER, epoch)))
        blocks: list[Block] = []
        for group in generator.permutation(len(self._groups)).tolist():
            rows = self._fitted_rows[group]
            if blocks and blocks[-1].rows + rows <= self._block_rows:
                blocks[-1] = Block((*blocks[-1].groups, group), blocks[-1].rows + rows)
            elif rows:
                blocks.append(Block((group,), rows))
        return blocks

    def read(self, block: Block) -> Samples:
        """Read the rows of a block that are fitted.

        Raises:
            DataError: the file was changed, or is damaged.
        """
        parts = [(group, self._read(group)) for group in block.groups if self._fitted_rows[group]]
        return Samples.concat([rows.take(np.flatnonzero(self._fitted(group, rows))) for group, rows in parts])

    def _survey(self, seen: float) -> None:
        """Read everything once."""
        parts: dict[str, list[Samples]] = {"seen": [], "held out": []}
        bounds: list[dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]] = []
        self._fitted_rows: list[int] = []
        for group in range(len(self._groups)):
            rows = self._read(group)
            fitted, counted = self._fitted(group, rows), _counted(rows)
            if counted.any():
                bounds.append({name: (c[counted].min(axis=0), c[counted].max(axis=0)) for name, c in rows.x.items()})
            self._fitted_rows.append(int(fitted.sum()))
            chosen = {"seen": fitted & (self._chances(group) >= 1 - seen), "held out": counted & ~fitted}
            for name, mask in chosen.items():
                if mask.any():
                    parts[name].append(rows.take(np.flatnonzero(mask)))
        if not parts["seen"]:
            raise DataError(f"{self._path}: hardly a row is left to fit: hold fewer out")
        self.samples = Samples.concat(parts["seen"])
        self.validation = Samples.concat(parts["held out"]) if parts["held out"] else None
        self.count = sum(self._fitted_rows)
        self.capacity = max(min(self._block_rows, self.count), *self._fitted_rows)
        self.lower = {name: np.min([each[name][0] for each in bounds], axis=0) for name in self.samples.x}
        self.upper = {name: np.max([each[name][1] for each in bounds], axis=0) for name in self.samples.x}

    def _chances(self, group: int) -> NDArray[np.float64]:
        """Return a random number a row; rows with small ones are held out, with large ones seen."""
        generator = np.random.default_rng(np.random.SeedSequence((self._seed, SPLIT, group)))
        return generator.random(self._groups[group].rows)

    def _fitted(self, group: int, rows: Samples) -> NDArray[np.bool_]:
        return (self._chances(group) >= self._held_out) & _counted(rows)

    def _read(self, number: int) -> Samples:
        group = self._groups[number]
        try:
            table = _read_group(group, self._roles.columns)
            return Samples(**self._roles.arrays(table), units=self._units)
        except DataError as error:
            if len(self._groups) == 1:
                raise
            raise DataError(f"{group.path}, rows counted from its row {group.first:,}: {error}") from error


def _groups_of(path: Path) -> list[_Group]:
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in PARQUET_FILES)
        if not files:
            raise DataError(f"{path} holds no Parquet file: give one, or a directory with some")
    groups: list[_Group] = []
    for file in files:
        opened, first = open_parquet(file), 0
        for index in range(opened.num_row_groups):
            rows = opened.metadata.row_group(index).num_rows
            if rows:
                groups.append(_Group(file, index, rows, first))
            first += rows
    if not groups:
        raise DataError(f"{path} has no rows: give at least one")
    return groups


def _counted(rows: Samples) -> NDArray[np.bool_]:
    """Return which rows count: those whose weight is not 0."""
    return np.ones(rows.count, bool) if rows.row_weights is None else rows.row_weights > 0


def _read_group(group: _Group, columns: Sequence[str] | None = None) -> LazyTable:
    """Read some columns of a row group; None reads all."""
    file = open_parquet(group.path)
    if missing := [name for name in columns or () if name not in file.schema_arrow.names]:
        raise DataError(f"{group.path} has no column {missing[0]!r}, other files beside it have")
    with reading(group.path, "cannot read on in"):
        return arrow_table(file.read_row_group(group.index, columns=columns), group.path.name)
