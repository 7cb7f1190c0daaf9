"""The ledger of a target: which job it belongs to, which units are done, and the commit that ends it.

A job's directory holds its identity, and a record for each unit whose result is there. The manifest comes last, and the
directory is removed. A process that is killed leaves the directory, and the same job goes on from its records.
"""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from typing import Any, BinaryIO, Final, final

from gradwire._errors import PackageError, UsageError
from gradwire._extras import import_extra
from gradwire._tables import EXTRA
from gradwire.batch._formats import open_writer
from gradwire.batch._job import POLICY, WORK, Job, Unit
from gradwire.batch._storage import TEMPORARY, Busy, LocalStorage, Staged, Written, writing
from gradwire.batch._unit import UnitRecord, errors_of, with_origin

IDENTITY: Final = "job.json"
STOPPED: Final = "stopped_at"  # the file whose bad row has ended the job, in its identity
ANNOUNCED: Final = "publishing.json"  # a file of this size and hash at the target is the job's own
POLL: Final = 0.02  # seconds between looks for the next unit
SHOWN: Final = 3  # differences in a message

Shard = tuple[int, int]


@final
class Ledger:
    """The state of a job at its target.

    Args:
        job: whose it is.
        overwrite: whether a result of another job may be replaced.
    """

    def __init__(self, job: Job, *, overwrite: bool = False) -> None:
        self._job, self._target, self._overwrite = job, job.target, overwrite
        self._storage, self._path = job.target.place
        self._new: list[str] = []
        self._assembly: Future[Staged] | None = None

    @contextmanager
    def held(self, shard: Shard | None = None, *, restart: bool = False) -> Generator[None]:
        """Hold the target for this job, or one shard of it.

        Args:
            shard: its number and how many there are; None for the whole job.
            restart: whether what another job, or this one, has left there is removed.

        Raises:
            PackageError: another process holds it, or results of another job, or other files, are there.
            UsageError: an unfinished job of other input, package or options is there.
        """
        work = self._target.work
        with ExitStack() as stack:
            with writing(self._target.address):
                self._new += self._storage.make_directory(work)
                try:
                    stack.enter_context(self._storage.lock(f"{work}/lock", shared=shard is not None))
                    if shard is not None:
                        name = f"{work}/lock-{shard[0]}-of-{shard[1]}"
                        stack.enter_context(self._storage.lock(name, shared=False))
                except Busy as error:
                    raise PackageError(
                        f"{self._target.address} is being written by another process: wait for it, or give another target"
                    ) from error
            with writing(self._target.address):
                try:
                    self._claim(shard, restart)
                except BaseException:
                    if self._storage.read(f"{work}/{IDENTITY}") is None:
                        self._remove_work()
                    raise
            yield

    def finished(self) -> dict[str, Any] | None:
        """Return the manifest, if this job is complete and everything that it lists is there."""
        text = self._storage.read(self._target.manifest)
        manifest = json.loads(text) if text else {}
        if manifest.get("job") != self._job.id:
            return None
        sizes = [self._storage.size(f"{self._folder}/{file['name']}") == file["size"] for file in manifest["files"]]
        return manifest if all(sizes) else None

    def records(self) -> dict[str, UnitRecord]:
        """Return what is noted about the units that are done, by name."""
        names = set(self._storage.names(self._target.work))
        records: dict[str, UnitRecord] = {}
        for unit in self._job.units:
            if f"{unit.name}.json" not in names:
                continue
            text = self._storage.read(self._target.record(unit))
            record = None if text is None else UnitRecord.read(text)
            if record is not None and self._storage.size(self._target.part(unit)) == record.size:
                records[unit.name] = record
            else:
                self._storage.remove(self._target.record(unit))  # of a result that was damaged since
        return records

    def commit(self) -> dict[str, Any] | None:
        """End the job, if all units are done: the target, then the manifest.

        Returns:
            The manifest; None while units are missing.

        Raises:
            PackageError: something came to the target during the job; it stays, and so does the job's directory.
        """
        with ExitStack() as stack, writing(self._target.address):
            with suppress(FileNotFoundError):  # another shard has removed it with all the rest
                stack.enter_context(self._storage.lock(f"{self._target.work}/commit", shared=False, waits=True))
            if (manifest := self.finished()) is not None:
                self._remove_work()
                return manifest
            records = self.records()
            if len(records) < len(self._job.units):
                return None
            self._write_errors(records)
            manifest = self._manifest(records, self._publish() if self._target.is_file else None)
            text = (json.dumps(manifest, indent=1) + "\n").encode()
            self._storage.write(self._target.manifest, lambda stream: stream.write(text), self._target.work)
            self._remove_work()
        return manifest

    def discard(self) -> None:
        """Remove all that the job has written, and the directories that were made for it."""
        for unit in self._job.units:
            self._storage.remove(self._target.part(unit))
        self._remove_work()
        for path in self._new:
            self._storage.remove_empty(path)

    def stop_at(self, file: str) -> None:
        """Note that a row of a file has ended the job, which may go on with that mended, or the row left out."""
        path = f"{self._target.work}/{IDENTITY}"
        with writing(self._target.address):
            self._write_entry({**json.loads(self._storage.read(path) or b"{}"), STOPPED: file})

    @property
    def _folder(self) -> str:
        return self._path.rpartition("/")[0] if self._target.is_file else self._path

    def _claim(self, shard: Shard | None, restart: bool) -> None:
        work = self._target.work
        if restart:
            self._remove_left(json.loads(self._storage.read(f"{work}/{IDENTITY}") or b"{}"))
            if self.finished() is not None:
                self._remove_finished()
        elif self.finished() is not None:
            return
        text = self._storage.read(f"{work}/{IDENTITY}")
        if text is None:
            self._storage.create(f"{work}/{IDENTITY}", json.dumps(self._entry(self._require_free())).encode(), work)
            text = self._storage.read(f"{work}/{IDENTITY}") or b"{}"
        entry = json.loads(text)
        if entry.get("job") != self._job.id and shard is None and self._is_mended(entry):
            self._take_over(entry)
        elif entry.get("job") != self._job.id:
            raise UsageError(
                f"{self._target.address} has an unfinished job of {_difference(entry.get('identity', {}), self._job.identity)}: "
                "give what it had to go on with it, or --restart to begin anew"
            )
        self._remove_replaced(entry.get("replaces", []))
        if shard is None:
            for name in self._storage.names(work):
                if name.endswith(TEMPORARY):
                    self._storage.remove(f"{work}/{name}")

    def _entry(self, replaces: Sequence[str]) -> dict[str, Any]:
        job = self._job
        return {"job": job.id, "identity": job.identity, "parts": self._parts(), "replaces": list(replaces)}

    def _write_entry(self, entry: Mapping[str, Any]) -> None:
        text = json.dumps(entry).encode()
        path = f"{self._target.work}/{IDENTITY}"
        self._storage.write(path, lambda stream: stream.write(text), self._target.work)

    def _is_mended(self, entry: Mapping[str, Any]) -> bool:
        """Tell whether a job that a bad row has ended is this one, but for that row's file and what is done about it.

        No unit of it has a bad row, so that its results are those of this job, whatever that does with bad rows.
        """
        file = entry.get(STOPPED)
        return file is not None and _but_for(file, entry["identity"]) == _but_for(file, self._job.identity)

    def _take_over(self, entry: Mapping[str, Any]) -> None:
        """Make the directory this job's; results of a file that was mended are removed."""
        work = self._target.work
        gone = set(entry["parts"]).difference(self._parts())
        if not self._target.is_file:
            for name in gone:
                self._storage.remove(f"{self._path}/{name}")
        stems = {name.partition(".")[0] for name in gone}
        for name in self._storage.names(work):
            if name.partition(".")[0] in stems:
                self._storage.remove(f"{work}/{name}")
        self._write_entry(self._entry(entry.get("replaces", [])))

    def _parts(self) -> list[str]:
        return [self._target.part(unit).rpartition("/")[2] for unit in self._job.units]

    def _require_free(self) -> list[str]:
        """Raise if something else is where the results go; return the files that are replaced, in a directory."""
        exists = f"{self._target.address} exists: choose another name, or pass --overwrite"
        if self._target.is_file:
            if self._storage.size(self._path) is not None and not self._overwrite:
                raise PackageError(exists)
            return []
        own = {WORK, *map(_name, (self._target.manifest, self._target.errors)), *self._parts()}
        manifest = json.loads(self._storage.read(self._target.manifest) or b"{}")
        listed = {file["name"] for file in manifest.get("files", [])}
        if foreign := [name for name in self._storage.names(self._path) if name not in own | listed]:
            raise PackageError(
                f"{self._target.address} has other files, such as {foreign[0]}: give a new or an empty directory"
            )
        if manifest and not self._overwrite:
            raise PackageError(exists)
        return sorted(listed)

    def _remove_replaced(self, names: Sequence[str]) -> None:
        """Remove the files of another job's result; who was killed amid that goes on, for the names are noted."""
        if names and json.loads(self._storage.read(self._target.manifest) or b"{}").get("job") != self._job.id:
            self._storage.remove(self._target.manifest)
            self._storage.remove(self._target.errors)
        for name in set(names).difference(self._parts()):
            self._storage.remove(f"{self._folder}/{name}")

    def _remove_finished(self) -> None:
        """Remove the result of a job: the manifest first, so that what is left is no result."""
        manifest = json.loads(self._storage.read(self._target.manifest) or b"{}")
        self._storage.remove(self._target.manifest)
        self._storage.remove(self._target.errors)
        for file in manifest.get("files", []):
            self._storage.remove(f"{self._folder}/{file['name']}")

    def _remove_left(self, entry: Mapping[str, Any]) -> None:
        """Remove what an unfinished job has left."""
        if not self._target.is_file:
            for name in entry.get("parts", []):
                self._storage.remove(f"{self._path}/{name}")
        for name in self._storage.names(self._target.work):
            if not name.startswith("lock"):
                self._storage.remove(f"{self._target.work}/{name}")

    def _remove_work(self) -> None:
        self._storage.remove(self._target.work)

    def _write_errors(self, records: Mapping[str, UnitRecord]) -> None:
        """Put the rows that could not be read into one side file, in the order of the input."""
        bad = [unit for unit in self._job.units if records[unit.name].bad]
        if not bad:
            self._storage.remove(self._target.errors)
            return

        def fill(stream: BinaryIO) -> None:
            stream.writelines(self._storage.read(errors_of(self._job, unit)) or b"" for unit in bad)

        self._storage.write(self._target.errors, fill, self._target.work)

    def _publish(self) -> Written:
        """Give the whole its name, put together from the units."""
        announced = f"{self._target.work}/{ANNOUNCED}"
        before = self._storage.read(announced)
        assembly, self._assembly = self._assembly, None
        whole = self._stage() if assembly is None else assembly.result()
        with whole:
            text = json.dumps(whole.written._asdict()).encode()
            self._storage.write(announced, lambda stream: stream.write(text), self._target.work)
            try:
                whole.publish(replaces=self._overwrite)
            except FileExistsError as error:
                # A process that was killed between the name and the manifest has left its own file.
                if before is None or self._storage.size(self._path) not in (0, json.loads(before)["size"]):
                    raise PackageError(
                        f"{self._target.address} came to be there during the job: the results are kept, and the same "
                        "command puts them there once that is gone; or pass --overwrite"
                    ) from error
                whole.publish(replaces=True)
        return whole.written

    @contextmanager
    def assembling(self) -> Generator[None]:
        """Put a single file together while its units are computed, each as it is done, in their order."""
        if not self._target.is_file or not isinstance(self._storage, LocalStorage):
            yield
            return
        stop = threading.Event()
        with ThreadPoolExecutor(1) as thread:
            assembly = thread.submit(self._stage, stop)
            try:
                yield
            except BaseException:
                stop.set()
                if not assembly.cancel() and (error := assembly.exception()) is None:
                    assembly.result().discard()
                del error
                raise
        self._assembly = assembly

    def _stage(self, stop: threading.Event | None = None) -> Staged:
        return self._storage.stage(self._path, lambda stream: self._assemble(stream, stop), self._target.work)

    def _assemble(self, stream: BinaryIO, stop: threading.Event | None) -> None:
        pa = import_extra("pyarrow", EXTRA)
        writer = None
        for unit in self._job.units:
            while stop is not None and self._storage.size(self._target.record(unit)) is None:
                if stop.wait(POLL):
                    raise _Stopped
            with pa.ipc.open_stream(self._storage.open(self._target.part(unit))) as reader:
                writer = writer or open_writer(
                    self._target.form, stream, with_origin(reader.schema, self._job.origin())
                )
                for batch in reader:
                    writer.write(batch)
        if writer is not None:
            writer.close()

    def _manifest(self, records: Mapping[str, UnitRecord], whole: Written | None) -> dict[str, Any]:
        job = self._job
        files: list[dict[str, Any]] = []
        if whole is not None:
            files = [{"name": _name(self._path), **whole._asdict()}]
        units: list[dict[str, Any]] = []
        for unit in job.units:
            record = records[unit.name]
            units.append({"file": unit.file.name, "start": unit.start, "stop": unit.stop, **asdict(record)})
            if whole is None:
                files.append({"name": _name(self._target.part(unit)), "size": record.size, "sha256": record.sha256})
        totals: dict[str, Any] = {
            key: sum(unit[key] for unit in units) for key in ("rows", "written", "outside", "non_finite", "bad")
        }
        if totals["bad"]:
            totals["errors"] = _name(self._target.errors)
        return {"job": job.id, **job.identity, "totals": totals, "files": files, "units": units}


class _Stopped(Exception):  # noqa: N818 - it says what happened
    """The job has failed, so that there is nothing to be put together."""


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _but_for(file: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity without what a file holds, and without what is done about bad rows."""
    entries = [{"name": file} if entry["name"] == file else entry for entry in identity["input"]]
    options = {key: value for key, value in identity["options"].items() if key != POLICY}
    return {**identity, "input": entries, "options": options}


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say by name in what two jobs differ."""
    texts: list[str] = []
    old, new = ({file["name"]: file for file in each.get("input", [])} for each in (before, now))
    for word, names in (
        ("was changed", [name for name in old if name in new and old[name] != new[name]]),
        ("is not there now", [name for name in old if name not in new]),
        ("was not there", [name for name in new if name not in old]),
    ):
        texts += [f"{name} {word}" for name in names[:SHOWN]]
        texts += [f"{len(names) - SHOWN} more" for _ in range(len(names) > SHOWN)]
    kinds = ["input" for _ in range(bool(texts))]
    for kind in ("package", "options"):
        first, second = before.get(kind, {}), now.get(kind, {})
        changed = [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]
        kinds += [kind for _ in range(bool(changed))]
        texts += [f"{key} was {first.get(key)!r} and is {second.get(key)!r}" for key in changed]
    return f"another {' and '.join(kinds) or 'form'} ({'; '.join(texts) or 'written by another version of gradwire'})"


def units_of(units: Sequence[Unit], shard: Shard | None) -> list[Unit]:
    """Return the units of a shard: every n-th, so that all have work of any part of the input.

    Raises:
        UsageError: there is no such shard.
    """
    if shard is None:
        return list(units)
    number, count = shard
    if not 0 <= number < count:
        raise UsageError(f"shard {number}/{count}, expected K/N with K from 0 to N - 1, such as 0/4")
    return [unit for unit in units if unit.index % count == number]
