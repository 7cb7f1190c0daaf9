"""One unit of a job: rows in, a file under the unit's own name out."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO, Final

from gradwire._extras import import_extra
from gradwire._tables import EXTRA
from gradwire.batch._compute import Block, Computation
from gradwire.batch._formats import Writer, open_writer
from gradwire.batch._job import Job, Unit
from gradwire.batch._storage import writing

WINDOW: Final = 2  # blocks of a unit that are computed while others are read and written


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """What is noted about a unit once its result is there.

    Attributes:
        name: of the unit.
        rows: how many were read.
        written: how many have a row in the result.
        outside: how many lie outside of the domain.
        non_finite: how many have a result that is not finite.
        bad: how many could not be read.
        size: bytes of the result.
        sha256: of the result, in hexadecimal.
    """

    name: str
    rows: int
    written: int
    outside: int
    non_finite: int
    bad: int
    size: int
    sha256: str

    @classmethod
    def read(cls, text: bytes) -> UnitRecord:
        """Read what ``text`` wrote."""
        entries = json.loads(text)
        return cls(**{each.name: entries[each.name] for each in fields(cls)})

    @property
    def text(self) -> bytes:
        """The record as JSON."""
        return json.dumps(asdict(self), sort_keys=True).encode()


def run_unit(
    job: Job,
    unit: Unit,
    computation: Computation,
    *,
    pool: Executor | None = None,
    on_rows: Callable[[int], None] = lambda _: None,
) -> UnitRecord:
    """Compute a unit, and write its result, then its record. Who does it again writes the same bytes.

    Args:
        job: that it belongs to.
        unit: of the job.
        computation: of the job's package and options.
        pool: computes some blocks ahead, while others are read and written; None to do one after the other.
        on_rows: called with the number of rows after each block.

    Raises:
        DataError: a row cannot be read, or the file is another than when the job was planned.
        PackageError: the result cannot be written; nothing is left of it.
    """
    storage, _ = job.target.place
    unit.file.require_unchanged()
    tally = _Tally()

    def blocks() -> Iterator[tuple[Any, int]]:
        row = unit.start
        for block in job.blocks(unit):
            yield block, row
            row += block.num_rows

    def compute(item: tuple[Any, int]) -> Block:
        block, row = item
        return computation(block, row, unit.file.name, is_text=unit.file.is_text)

    def fill(stream: BinaryIO) -> None:
        writer: Writer | None = None
        for block in _ordered(pool, compute, blocks()):
            writer = writer or _open(job, unit, stream, block.batch.schema)
            writer.write(block.batch)
            tally.add(block)
            on_rows(block.rows)
        if writer is not None:
            writer.close()

    with writing(job.target.address):
        written = storage.write(job.target.part(unit), fill, job.target.work)
        unit.file.require_unchanged()
        if tally.bad:
            lines = [{"file": unit.file.name, "row": row, "error": reason} for row, reason in tally.bad]
            text = "".join(json.dumps(line) + "\n" for line in lines).encode()
            storage.write(errors_of(job, unit), lambda stream: stream.write(text), job.target.work)
        record = UnitRecord(
            unit.name, tally.rows, tally.written, tally.outside, tally.non_finite, len(tally.bad), *written
        )
        storage.write(job.target.record(unit), lambda stream: stream.write(record.text), job.target.work)
    return record


def errors_of(job: Job, unit: Unit) -> str:
    """Return the path of the rows of a unit that could not be read."""
    return f"{job.target.work}/{unit.name}.errors.jsonl"


class _Tally:
    def __init__(self) -> None:
        self.rows = self.written = self.outside = self.non_finite = 0
        self.bad: list[tuple[int, str]] = []

    def add(self, block: Block) -> None:
        self.rows += block.rows
        self.written += block.batch.num_rows
        self.outside += block.outside
        self.non_finite += block.non_finite
        self.bad += block.bad


class _Stream:
    """Writes Arrow's stream, of which a single file is put together."""

    def __init__(self, stream: BinaryIO, schema: Any) -> None:
        self._writer = import_extra("pyarrow", EXTRA).ipc.new_stream(stream, schema)

    def write(self, batch: Any) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()


def _open(job: Job, unit: Unit, stream: BinaryIO, schema: Any) -> Writer:
    if job.target.is_file:
        open_writer(job.target.form, io.BytesIO(), schema)  # a column that it cannot hold is told before the work
        return _Stream(stream, schema)
    return open_writer(job.target.form, stream, with_origin(schema, job.origin(unit)))


def with_origin(schema: Any, origin: Mapping[str, str]) -> Any:
    """Return a schema whose metadata says where the results come from."""
    return schema.with_metadata({**(schema.metadata or {}), **origin})


def _ordered(
    pool: Executor | None, compute: Callable[[tuple[Any, int]], Block], items: Iterable[tuple[Any, int]]
) -> Iterator[Block]:
    """Yield results in the order of the items, a few of them computed ahead."""
    if pool is None:
        yield from map(compute, items)
        return
    ahead: deque[Future[Block]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(compute, item))
            if len(ahead) > WINDOW:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()
