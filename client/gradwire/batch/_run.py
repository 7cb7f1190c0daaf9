"""A batch job from end to end: plan it, claim the target, run the units that are missing, commit."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, final

from typing_extensions import override

from gradwire._errors import DataError, UsageError
from gradwire._model import Model
from gradwire.batch._compute import BLOCK_ROWS, BadRow, BatchOptions, Computation
from gradwire.batch._frames import opened
from gradwire.batch._job import Job, Source, Unit, plan
from gradwire.batch._ledger import Ledger, Shard, units_of
from gradwire.batch._ray import RayEngine
from gradwire.batch._unit import run_unit

# Three million rows on two cores, the least of seven: 0.33 s so, 0.58 s one after the other.
UNITS_AT_ONCE: Final = 2  # one is begun or ended while the other is computed
CALLS: Final = 4  # of the model, under way at once

Address: TypeAlias = "str | os.PathLike[str]"
ModelOrPath: TypeAlias = "Model | str | os.PathLike[str]"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of a batch job.

    Attributes:
        rows: number of rows read, by this and by earlier processes of the job.
        written: number of rows in the result: fewer where bad ones were skipped.
        outside: how many lie outside of the domain on the card.
        non_finite: how many have a result that is not finite.
        bad: how many could not be read.
        columns: names of the columns that were added, in order.
        computed: rows that this process has computed.
        seconds: wall time of this process.
        version: of the model that computed all of them; None where it has no number.
        complete: whether the whole job is done; False while other shards have units to do.
    """

    rows: int
    written: int
    outside: int
    non_finite: int
    bad: int
    columns: tuple[str, ...]
    computed: int
    seconds: float
    version: int | None
    complete: bool


class Engine(Protocol):
    """What runs the units of a job: threads here, or a cluster."""

    def run(self, job: Job, units: Sequence[Unit], model: Model, on_rows: Callable[[int], None]) -> None:
        """Run units, each by ``run_unit``, in any order and place.

        Args:
            job: that they belong to; it pickles.
            units: those to run.
            model: pinned to the job's version.
            on_rows: to be called with numbers of rows as they are done.

        Raises:
            Exception: whatever a unit raised; the others need not have been run.
        """
        ...


@final
class LocalEngine(Engine):
    """Runs units in threads of this process.

    Args:
        calls: how many calls of the model are under way at once.
    """

    def __init__(self, calls: int = CALLS) -> None:
        self._calls = calls

    @override
    def run(self, job: Job, units: Sequence[Unit], model: Model, on_rows: Callable[[int], None]) -> None:
        """Run units, two at a time, and their blocks a few at a time."""
        computation = Computation(model, job.options, job.schema)
        stop, lock = threading.Event(), threading.Lock()

        def report(rows: int) -> None:
            if stop.is_set():
                raise _Stopped
            with lock:
                on_rows(rows)

        with (
            ThreadPoolExecutor(self._calls) as pool,
            ThreadPoolExecutor(min(UNITS_AT_ONCE, max(1, len(units)))) as threads,
        ):
            futures = [threads.submit(run_unit, job, unit, computation, pool=pool, on_rows=report) for unit in units]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    if future in done:
                        future.result()
            finally:
                stop.set()
                for future in futures:
                    future.cancel()


LOCAL: Final = "local"
ENGINES: Final[dict[str, Callable[[], Engine]]] = {LOCAL: LocalEngine, "ray": RayEngine}


class _Stopped(Exception):  # noqa: N818 - it says what happened
    """Another unit has failed."""


def run(
    source: Address | Iterable[Address],
    sink: Address,
    *,
    model: ModelOrPath,
    compute: str = "grad",
    uncertainty: bool = False,
    flag_outside: bool = False,
    on_error: str = "fail",
    columns: Mapping[str, str] | None = None,
    decimal: str = ".",
    form: str | None = None,
    overwrite: bool = False,
    restart: bool = False,
    shard: Shard | None = None,
    block_rows: int = BLOCK_ROWS,
    engine: Engine | str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> BatchResult:
    """Compute outputs and derivatives for every row of some files, each exactly once, all by one version of the model.

    A job that was stopped, even by ``kill -9``, goes on when it is run again, and ends with the same bytes.

    Args:
        source: a file, a directory, a glob, an address of fsspec's such as ``s3://bucket/points/``, or several of
            these. Each input has a column of its name, or ``x[0]``, ``x[1]``, …; other columns go through.
        sink: a file, or a directory, for the same rows with results as further columns: ``f`` and ``df_dx`` by the
            contract's names, and derivatives once more by the card's aliases.
        model: in process or remote, or the directory of a package. The version is the one that responds first.
        compute: the word for a signature: ``"value"``, ``"grad"``, ``"hessian"``, ``"jvp"``, ``"solve"``, …
        uncertainty: whether to add the error bars, ``f_std`` and ``df_dx_std``, and ``trusted``. It costs a call more.
        flag_outside: whether to add ``outside_domain``.
        on_error: about rows with a null, or with what is no number: ``"fail"``, ``"null"`` or ``"skip"``.
        columns: the files' names for inputs that have others there, ``{"spot": "S0"}``.
        decimal: the decimal mark of text.
        form: the format of results; None for that of the sink's suffix, else Parquet.
        overwrite: whether a result of another job may be replaced: a file when the new one is complete, the files of a
            directory when the job starts.
        restart: whether to remove what an earlier job has left there, instead of going on with it; not with a shard.
        shard: ``(k, n)`` to run every n-th unit from the k-th; the last of the n to end commits.
        block_rows: rows of a call.
        engine: runs the units: ``"local"`` for threads of this process, the default; ``"ray"`` for the Ray cluster that
            ``RayEngine()`` finds; or an engine itself.
        on_progress: called with rows done and rows in all.

    Returns:
        Counts and seconds.

    Raises:
        DataError: a file or a row cannot be read, or a column is missing, or has a result's name.
        SignatureNotFound: the package lacks the signature, or has no error bars and they are to be added.
        PackageError: the target exists, cannot be written, or another process writes it.
        UsageError: an unfinished job of other input, package or options is there.
        ModelNotFound: the server has unloaded that version before the end.
    """
    started = time.perf_counter()
    runner = _engine_of(engine)
    options = BatchOptions(
        compute=compute, uncertainty=uncertainty, flag_outside=flag_outside, on_error=on_error,  # pyright: ignore[reportArgumentType] - checked there
        columns=dict(columns or {}), decimal=decimal, block_rows=block_rows,
    )  # fmt: skip
    units_of((), shard)  # refuses one that there is not
    if restart and shard is not None:
        raise UsageError("--restart with --shard would remove what other shards have done: leave one of them out")
    rows = Source(source, decimal)
    with opened(model) as pinned:
        computation = Computation(pinned, options, rows.schema)
        job = plan(rows, sink, options, computation.package, form)
        _require_apart(job)
        ledger = Ledger(job, overwrite=overwrite)
        with ledger.held(shard, restart=restart):
            manifest, computed = ledger.finished(), 0
            if manifest is None:
                computed = _run_missing(job, ledger, shard, pinned, runner, on_progress)
            try:
                manifest = ledger.commit()
            except DataError:  # the format of the one file cannot hold what some row has
                if shard is None:
                    ledger.discard()
                raise
        totals = manifest["totals"] if manifest else _counted(ledger)
    seconds = time.perf_counter() - started
    counts = {key: totals[key] for key in ("rows", "written", "outside", "non_finite", "bad")}
    return BatchResult(
        **counts, columns=computation.added, computed=computed, seconds=seconds,
        version=job.package["version"], complete=manifest is not None,
    )  # fmt: skip


def _engine_of(engine: Engine | str | None) -> Engine:
    if engine is not None and not isinstance(engine, str):
        return engine
    if engine not in {None, *ENGINES}:
        raise UsageError(f"engine {engine!r}, expected one of {', '.join(ENGINES)}, or an object")
    return ENGINES[engine or LOCAL]()


def _run_missing(
    job: Job, ledger: Ledger, shard: Shard | None, model: Model, engine: Engine,
    on_progress: Callable[[int, int], None] | None,
) -> int:  # fmt: skip
    """Run the units that are not done; return the number of their rows."""
    own = units_of(job.units, shard)
    records = ledger.records()
    missing = [unit for unit in own if unit.name not in records]
    done, total = sum(unit.rows for unit in own if unit.name in records), sum(unit.rows for unit in own)

    def on_rows(rows: int) -> None:
        nonlocal done
        done += rows
        if on_progress is not None:
            on_progress(done, total)

    try:
        with ledger.assembling() if shard is None else nullcontext():
            engine.run(job, missing, model, on_rows)
    except BaseException as error:
        # A row can be mended, or left out. What else is wrong with the call or its files is wrong the next time, too.
        if shard is None:
            if not ledger.records() or (isinstance(error, UsageError) and not isinstance(error, BadRow)):
                ledger.discard()
            elif isinstance(error, BadRow):
                ledger.stop_at(error.file)
        raise
    return sum(unit.rows for unit in missing)


def _counted(ledger: Ledger) -> dict[str, int]:
    records = ledger.records().values()
    return {
        key: sum(getattr(record, key) for record in records)
        for key in ("rows", "written", "outside", "non_finite", "bad")
    }


def _require_apart(job: Job) -> None:
    """Raise if results would go where rows come from."""
    place = os.path.abspath(job.target.address)  # noqa: PTH100 - text
    for file in job.files:
        own = os.path.abspath(file.address)  # noqa: PTH100 - text
        if own == place or (not job.target.is_file and own.startswith(place + os.sep)):
            raise UsageError(f"{job.target.address} is where the rows come from: give another target")
