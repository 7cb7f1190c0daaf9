"""``gradwire batch``: values and derivatives for every row of files."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gradwire._cli.arguments import DEFAULT_COMPUTE, DecimalMark, compute_option, expand_options
from gradwire._cli.choices import BatchEngine, OnError
from gradwire._cli.console import err, note, say
from gradwire._cli.io import Connection, open_model, read_columns
from gradwire._cli.progress import progress
from gradwire._errors import UsageError

if TYPE_CHECKING:
    from gradwire.batch import BatchResult

NAME: Final = "batch"
TERMINATED: Final = 128 + signal.SIGTERM  # what a shell reports


@expand_options
def command(
    points: Annotated[
        str,
        typer.Argument(help="File, directory, 'glob' in quotes, or URL such as s3://bucket/points/: rows of points."),
    ],
    connection: Connection,
    to: Annotated[
        str, typer.Argument(help="File to write, or directory/: the same rows with columns f, df_dx, … added.")
    ],
    model: Annotated[str | None, typer.Option(help="Directory of a package, to run in this process.")] = None,
    server: Annotated[str | None, typer.Option(help="Server address, such as localhost:8500.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model on the server.")] = None,
    compute: Annotated[str, compute_option("What to compute; directions are columns x_dot, f_bar.")] = DEFAULT_COMPUTE,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Add error bars (f_std, df_dx_std), and whether to trust a row.")
    ] = False,
    flag_outside: Annotated[
        bool, typer.Option("--flag-outside", help="Add outside_domain, whether a row is outside of the card's domain.")
    ] = False,
    on_error: Annotated[
        OnError,
        typer.Option(
            help="Rows with a null, or with what is no number: fail, results that are null, or leave them out."
        ),
    ] = OnError.FAIL,
    columns: Annotated[
        str | None, typer.Option("--map", help="Inputs that have another name in the files: spot=S0,vol=sigma.")
    ] = None,
    decimal: DecimalMark = ".",
    form: Annotated[
        str | None, typer.Option("--format", help="Format of results. Default: by the suffix, else parquet.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the result of another job.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Remove what an earlier job has left there, instead of going on with it.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(help="K/N: every N-th unit from the K-th, 0 to N - 1; the last to end commits.")
    ] = None,
    engine: Annotated[
        BatchEngine, typer.Option(help="What runs the units: this process, or the workers of a Ray cluster.")
    ] = BatchEngine.LOCAL,
    address: Annotated[
        str | None,
        typer.Option(help="Ray: the cluster's. Default: RAY_ADDRESS, else one on this machine, started if need be."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Ray: how many. Default: as many as the cluster holds.")] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option("--gpus-per-worker", help="Ray: GPUs of a worker, or a fraction of one.")
    ] = None,
) -> None:
    """Compute values and derivatives for every row of files, each exactly once.

    Example: [bold]gradwire batch points.parquet out.parquet --model models/log[/bold]

    A job that was stopped goes on when the same command is given again.
    """
    if (model is None) == (server is None) or (server is None) != (name is None):
        raise UsageError("where is the model? give --model models/log, or --server localhost:8500 --name log")
    if engine is BatchEngine.LOCAL and (address, workers, gpus_per_worker) != (None, None, None):
        raise UsageError(
            "--address, --workers and --gpus-per-worker are for --engine ray: give that, or leave them out"
        )
    from gradwire import batch

    runner = None
    if engine is BatchEngine.RAY:
        runner = batch.RayEngine(address=address, workers=workers, gpus_per_worker=gpus_per_worker or 0.0)
    part = _read_shard(shard)
    with (
        open_model(model or server or "", name, connection=connection) as opened,
        progress("rows") as report,
        _terminable(),
    ):
        rate = _Rate()
        result = batch.run(
            points, to, model=opened, compute=compute, uncertainty=uncertainty, flag_outside=flag_outside,
            on_error=on_error.value, columns=read_columns("map", columns), decimal=decimal, form=form,
            overwrite=overwrite, restart=restart, shard=part, engine=runner,
            on_progress=lambda done, total: report(done, total, rate.text(done, total)),
        )  # fmt: skip
    note(_summary(result))
    say(to)


class _Rate:
    """Rows a second of this process, and the time left."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._first: int | None = None

    def text(self, done: int, total: int) -> str:
        seconds = time.perf_counter() - self._started
        if self._first is None:
            self._first, self._started = done, time.perf_counter()  # what an earlier process did, and the start-up
            return ""
        rate = (done - self._first) / max(seconds, 1e-9)
        left = "" if err.is_terminal else f", {(total - done) / max(rate, 1e-9):,.0f} s left"  # which a bar has itself
        return f"{rate:,.0f} rows/s{left}"


def _summary(result: BatchResult) -> str:
    by = "" if result.version is None else f" by version {result.version}"
    texts = [f"{result.rows:,} rows{by} in {result.seconds:.1f} s"]
    if result.computed:
        texts[0] += f" ({result.computed / max(result.seconds, 1e-9):,.0f} rows/s)"
    if result.computed != result.rows:
        texts.append(f"{result.rows - result.computed:,} of them done before" if result.complete else "")
    if not result.complete:
        texts.append("other shards have units to do")
    counts = {
        "outside of the domain": result.outside,
        "with results that are not finite": result.non_finite,
        "that could not be read": result.bad,
    }
    texts += [f"{count:,} {what}" for what, count in counts.items() if count]
    texts.append(f"added columns: {', '.join(result.columns)}")
    return "; ".join(text for text in texts if text)


def _read_shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise UsageError(f"--shard {text!r}: expected K/N with K from 0 to N - 1, such as 0/4")
    return int(number), int(count)


@contextmanager
def _terminable() -> Generator[None]:
    """Let SIGTERM end the work as Ctrl-C does, so that nothing is left half-written."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        note("stopped: the same command goes on from here")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
