"""The loop of a batch job: block in, one call, block out, so that memory stays flat whatever the file's size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gradwire._errors import DataError
from gradwire._model import TRUSTED, Model, package_of, times, trusted
from gradwire._package import SERVING_DEFAULT, UNCERTAINTY, Signature, TensorSpec

Arrays = dict[str, "npt.NDArray[np.generic]"]


class Source(Protocol):
    """A source of rows."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of the columns."""
        ...

    @property
    def rows(self) -> int:
        """The number of rows in all."""
        ...

    def blocks(self) -> Iterator[Any]:
        """Iterate over the rows, in order, a block at a time."""
        ...

    def read(self, block: Any, spec: TensorSpec, first_row: int) -> npt.NDArray[np.generic]:
        """Return a block's column as the array ``(rows, *input)`` of an input.

        Args:
            block: from ``blocks``.
            spec: of the input.
            first_row: number of the block's first row in the source, for messages.

        Raises:
            DataError: the column cannot be read as that; names column and row.
        """
        ...


class Sink(Protocol):
    """A destination of results: they are complete or not there at all."""

    def describe(self, origin: Mapping[str, str]) -> None:
        """Note where the results come from, before the first is written: ``{"gradwire.version": "3", …}``."""
        ...

    def write(self, block: Any, results: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Append a block of rows and their results, ``{name: (rows, *output)}``."""
        ...

    def commit(self) -> None:
        """Move the finished result into its place."""
        ...

    def discard(self) -> None:
        """Remove what was written; harmless after ``commit``."""
        ...


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of a batch job.

    Attributes:
        rows: number of rows computed.
        columns: names of the columns that were added, in order.
        seconds: wall time.
        version: of the model that computed all of them; None where it has no number.
    """

    rows: int
    columns: tuple[str, ...]
    seconds: float
    version: int | None


def run(
    model: Model,
    source: Source,
    sink: Sink,
    *,
    uncertainty: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> BatchResult:
    """Compute outputs and first derivatives for every row of a source, all by one version of the model.

    The version is the one that responds first; its number and the package's digest go to ``sink.describe``.

    Args:
        model: in process (``gradwire.load``) or remote (``gradwire.connect``).
        source: has a column for each input, by name; other columns pass through.
        sink: gets every block with the results as further columns: ``f`` and ``df_dx`` by the contract's names, and
            derivatives once more by the card's aliases.
        uncertainty: whether to add the error bars, ``f_std`` and ``df_dx_std``, and ``trusted``: whether a row is near
            enough to the samples (``Model.is_trusted``). It costs a call more.
        on_progress: called with rows done and rows in all after each block.

    Returns:
        Rows, columns and seconds.

    Raises:
        DataError: a column is missing, cannot be read, or has a result's name. Nothing is left of the result then.
        SignatureNotFound: the package has no ``serving_default``, or no error bars and they are to be added.
        ModelNotFound: the server has unloaded that version before the end. Nothing is left of the result.
    """
    started = time.perf_counter()
    given = model
    try:
        model = given.pinned()
        package = package_of(model)
        signature, added, aliases = package.signature(SERVING_DEFAULT), package.result_names(), package.aliases()
        if uncertainty:
            added = (*added, *package.uncertainty_names(), TRUSTED)
        _require_columns(source.columns, signature, added)
        digest = {"gradwire.digest": model.card.digest} if package.has_card else {}
        number = {} if model.version is None else {"gradwire.version": str(model.version)}
        sink.describe(number | digest)
        done = 0
        for block in source.blocks():
            arrays: Arrays = {name: source.read(block, spec, done) for name, spec in signature.inputs.items()}
            response = model.predict(SERVING_DEFAULT, **arrays)
            if uncertainty:
                bars = model.predict(UNCERTAINTY, **arrays)
                response |= bars | {TRUSTED: trusted(package, arrays, bars)}
            named = {name: times(response[tensor], factor) for name, (tensor, factor) in aliases.items()}
            sink.write(block, {name: named[name] if name in named else response[name] for name in added})
            done += len(next(iter(arrays.values())))
            if on_progress is not None:
                on_progress(done, source.rows)
        sink.commit()
    finally:
        sink.discard()
        if model is not given:
            model.close()
    return BatchResult(done, added, time.perf_counter() - started, model.version)


def _require_columns(columns: Sequence[str], signature: Signature, added: Sequence[str]) -> None:
    if missing := [name for name in signature.inputs if name not in columns]:
        raise DataError(f"missing columns {missing}; the file has {list(columns)}: name a column for each input")
    if len(set(added)) < len(added):
        raise DataError(f"the model has a tensor {TRUSTED!r} of its own: leave the uncertainty out")
    if existing := [name for name in added if name in columns]:
        raise DataError(f"the file has columns {existing} already, where results would go: drop or rename them")
