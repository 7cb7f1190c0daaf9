"""The units of a job on a Ray cluster: workers that load the package once, while the driver claims and commits."""

# pyarrow and Ray have no types.
# pyright: basic

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, final

from gradwire._errors import GradwireError, PackageError, ServerError, ServerUnreachable, UsageError
from gradwire._extras import import_extra
from gradwire._model import Model
from gradwire.batch._compute import Computation
from gradwire.batch._files import is_url
from gradwire.batch._job import Job, Unit
from gradwire.batch._unit import run_unit

EXTRA: Final = "ray"
RETRIES: Final = 10  # of a unit whose worker died: one that needs more memory than there is ends all the same
GRACE: Final = 10.0  # seconds for workers to end the block that they compute, and to remove what is half-written
ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as Ray announces; without it, it warns
}


@final
class RayEngine:
    """Runs units on a Ray cluster, in workers (actors) that load the package once; one that dies is started again.

    Workers on other machines need what this process has: Gradwire of the same version, the package's directory or the
    server at the same address, and paths that all can reach, such as a shared file system's or ``s3://``.

    Args:
        address: of the cluster, such as ``"auto"`` or ``"ray://head:10001"``; None for the one that this process is
            connected to, else that of ``RAY_ADDRESS``, else one on this machine, started if there is none.
        workers: how many; None for as many as the cluster holds now, at most one a unit.
        gpus_per_worker: GPUs of each; a fraction shares one.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: a number that cannot be.
    """

    def __init__(self, *, address: str | None = None, workers: int | None = None, gpus_per_worker: float = 0.0) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"{workers} workers, expected one at least")
        if gpus_per_worker < 0 or (gpus_per_worker > 1 and gpus_per_worker % 1):
            raise UsageError(f"{gpus_per_worker:g} GPUs a worker, expected 0, a fraction of one, or a whole number")
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._ray = import_extra("ray", EXTRA)
        self._address, self._workers, self._gpus = address, workers, gpus_per_worker

    def run(self, job: Job, units: Sequence[Unit], model: Model, on_rows: Callable[[int], None]) -> None:
        """Run units, one at a time in each worker.

        Raises:
            ServerUnreachable: there is no cluster at the address, or it holds no such worker.
            PackageError: a worker does not reach the target, or has another package.
            ServerError: workers died of a unit again and again.
        """
        if not units:
            return
        # Relative paths mean something else there. Functions of a fake, or of a token, travel by value.
        payload = self._ray.cloudpickle.dumps((_absolute(job), model))
        absolute = deque(replace(unit, file=_reachable(unit.file)) for unit in units)
        with self._connected():
            count = min(self._workers or self._capacity(), len(units))
            shared = self._ray.put(payload)
            kind = self._ray.remote(
                num_cpus=1, num_gpus=self._gpus, max_concurrency=2, max_restarts=-1, max_task_retries=RETRIES
            )(Worker)
            workers = [kind.remote(self._gpus) for _ in range(count)]
            running: dict[Any, tuple[Any, Unit]] = {}
            try:
                self._drain(workers, shared, absolute, running, on_rows)
            except BaseException:
                # What is half-written is removed by who writes it.
                stopped = [worker.stop.remote() for worker, _ in running.values()]
                if stopped:
                    self._ray.wait(stopped, num_returns=len(stopped), timeout=GRACE)
                raise
            finally:
                for worker in workers:
                    self._ray.kill(worker)

    def _drain(
        self, workers: Sequence[Any], shared: Any, units: deque[Unit], running: dict[Any, tuple[Any, Unit]],
        on_rows: Callable[[int], None],
    ) -> None:  # fmt: skip
        """Give each worker that is ready the next unit, until all are done."""
        loading = {worker.prepare.options(max_task_retries=0).remote(shared): worker for worker in workers}
        while units or running:
            (done,), _ = self._ray.wait([*loading, *running], num_returns=1)
            worker, unit = running.pop(done) if done in running else (loading.pop(done), None)
            try:
                failure = self._ray.get(done)
            except self._ray.exceptions.RayActorError as error:
                if unit is not None:
                    raise ServerError(_died(unit, error), code="ABORTED") from error
                failure = None  # it is started again, and loads when it has a unit
            if failure is not None:
                raise failure
            if unit is not None:
                on_rows(unit.rows)
            if units:
                following = units.popleft()
                running[worker.run.remote(shared, following)] = worker, following

    def _capacity(self) -> int:
        """Return how many workers the cluster holds."""
        has = self._ray.cluster_resources()
        cpus, gpus = int(has.get("CPU", 0)), float(has.get("GPU", 0))
        count = min(cpus, int(gpus / self._gpus)) if self._gpus else cpus
        if not count:
            raise ServerUnreachable(
                f"the Ray cluster has {cpus} CPUs and {gpus:g} GPUs, and a worker needs 1 and {self._gpus:g}: lower "
                "--gpus-per-worker, or give --workers where the cluster grows with what it is asked for"
            )
        return count

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Connect to the cluster; a connection that is there already is used, and left."""
        ray = self._ray
        if ray.is_initialized():
            if self._address is not None:
                raise UsageError("this process is connected to a Ray cluster already: leave the address out")
            yield
            return
        is_main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM) if is_main else None
        try:
            ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except ConnectionError as error:
            raise ServerUnreachable(f"no Ray cluster at {self._address or 'RAY_ADDRESS'}: {error}") from error
        finally:
            if is_main:
                signal.signal(signal.SIGTERM, handler)  # Ray sets its own
        try:
            yield
        finally:
            ray.shutdown()


@final
class Worker:
    """What runs on the cluster. It holds a Model, which is loaded when the first unit asks for it.

    Args:
        gpus: how many it has.
    """

    def __init__(self, gpus: float) -> None:
        # One CPU a worker: TensorFlow would start a thread for each of the machine, in each worker.
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, "1")
        if 0 < gpus < 1:
            os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # the rest of it belongs to others
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self._opened: tuple[Job, Computation] | None = None
        self._stopped, self._idle = threading.Event(), threading.Event()
        self._idle.set()

    def prepare(self, payload: bytes) -> GradwireError | None:
        """Load the package of a pickled job and model; return what prevents this worker from taking part."""
        try:
            job, _ = self._open(payload)
            self._require_reachable(job)
        except GradwireError as error:
            return error
        return None

    def run(self, payload: bytes, unit: Unit) -> GradwireError | None:
        """Run a unit; return what is wrong with it. A worker that was started again has to load first."""
        self._idle.clear()
        try:
            self._check(0)
            job, computation = self._open(payload)
            with ThreadPoolExecutor(1) as pool:
                run_unit(job, unit, computation, pool=pool, on_rows=self._check)
        except GradwireError as error:
            return error
        except _Stopped:
            return None
        finally:
            self._idle.set()
        return None

    def stop(self) -> None:
        """End the unit that is being run, and wait for that."""
        self._stopped.set()
        self._idle.wait(GRACE)

    def _open(self, payload: bytes) -> tuple[Job, Computation]:
        if self._opened is None:
            job, model = pickle.loads(payload)  # noqa: S301 - what the driver has just written
            computation = Computation(model, job.options, job.schema)
            if computation.package != dict(job.package):
                raise PackageError(
                    f"a Ray worker on {os.uname().nodename} has the package {computation.package} at {model}, expected "
                    f"{dict(job.package)}: give all machines the same package"
                )
            self._opened = job, computation
        return self._opened

    def _require_reachable(self, job: Job) -> None:
        storage, _ = job.target.place
        if not storage.names(job.target.work):
            raise PackageError(
                f"a Ray worker on {os.uname().nodename} does not see {job.target.work}: give paths that all machines "
                "reach, of a shared file system or of an object store such as s3://"
            )

    def _check(self, rows: int) -> None:
        if self._stopped.is_set():
            raise _Stopped


class _Stopped(Exception):  # noqa: N818 - it says what happened
    """The driver has ended the job."""


def _reachable(file: Any) -> Any:
    return file if is_url(file.address) else replace(file, address=str(Path(file.address).absolute()))


def _absolute(job: Job) -> Job:
    """Return the job with paths that do not depend on the working directory."""
    target = job.target
    if not is_url(target.address):
        slash = "/" if target.address.endswith("/") else ""
        target = replace(target, address=f"{Path(target.address).absolute()}{slash}")
    return replace(job, target=target, files=tuple(map(_reachable, job.files)))


def _died(unit: Unit, error: Exception) -> str:
    return (
        f"a Ray worker died of the unit {unit.name}, {RETRIES + 1} times: {str(error).splitlines()[0]}; see the cluster's log: where memory was short, "
        "give fewer workers"
    )
