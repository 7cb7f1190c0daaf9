"""A job as data: which rows, which package, which options, where to; it follows from the input alone, and pickles."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gradwire._errors import DataError, UsageError
from gradwire._extras import import_extra
from gradwire._tables import EXTRA, check_decimal
from gradwire.batch._compute import BatchOptions
from gradwire.batch._files import TEXT, InputFile, find_files, is_url
from gradwire.batch._formats import FORMS, MODULES, PARQUET, form_of_suffix, read_blocks, read_layout, require_known
from gradwire.batch._storage import Storage, storage_of

UNIT_ROWS: Final = 2**20  # the least rows of a unit, where the file has as many: a second of work, lost by a kill
WORK: Final = ".gradwire"  # names the directory of a job that is not complete
LOOKS: Final = 16  # at files at once
POLICY: Final = "on_error"  # the option that is about bad rows alone
PART: Final = "arrows"  # Arrow's stream: what a single file is put together from


@dataclass(frozen=True, slots=True)
class Unit:
    """The rows that are computed and written together.

    Attributes:
        index: its place among all units of the job.
        file: that they are in.
        start: the first row in the file.
        stop: the row behind the last.
        name: the stem of its result: the index, and the hash of the rows, the package and what is computed.
        place: where the first row is, as the file's format notes it.
    """

    index: int
    file: InputFile
    start: int
    stop: int
    name: str
    place: Any = field(default=None, repr=False)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Target:
    """Where results go.

    Attributes:
        address: a path or a URL.
        form: the format of files.
        is_file: whether it is one file, or a directory with one for each unit.
    """

    address: str
    form: str
    is_file: bool

    @property
    def place(self) -> tuple[Storage, str]:
        """Where it lies, and its path there."""
        storage, path = storage_of(self.address)
        return storage, path.rstrip("/")

    @property
    def work(self) -> str:
        """Path of the directory that belongs to the job until it is complete."""
        path = self.place[1]
        folder, _, name = path.rpartition("/")
        return f"{folder}/.{name}{WORK}" if self.is_file else f"{path}/{WORK}"

    @property
    def manifest(self) -> str:
        """Path of the manifest."""
        return f"{self.place[1]}.manifest.json" if self.is_file else f"{self.place[1]}/_manifest.json"

    @property
    def errors(self) -> str:
        """Path of the side file with the rows that could not be read."""
        return f"{self.place[1]}.errors.jsonl" if self.is_file else f"{self.place[1]}/_errors.jsonl"

    def part(self, unit: Unit) -> str:
        """Return the path of a unit's result."""
        if self.is_file:
            return f"{self.work}/{unit.name}.{PART}"
        return f"{self.place[1]}/{unit.name}{MODULES[self.form][0]}"

    def record(self, unit: Unit) -> str:
        """Return the path of what is noted about a unit once its result is there."""
        return f"{self.work}/{unit.name}.json"


@dataclass(frozen=True, slots=True)
class Job:
    """All that decides about the bytes of the results.

    Attributes:
        target: where they go.
        options: what is computed.
        package: what computes it: version and digest.
        files: of the input.
        units: in order.
        schema: pyarrow's, of the input.
        id: hash of all of it but the target's place.
    """

    target: Target
    options: BatchOptions
    package: Mapping[str, Any]
    files: tuple[InputFile, ...]
    units: tuple[Unit, ...]
    schema: Any = field(repr=False)
    id: str

    @property
    def rows(self) -> int:
        """The number of rows in all."""
        return sum(unit.rows for unit in self.units)

    @property
    def identity(self) -> dict[str, Any]:
        """What is compared with a job that is there already."""
        return _identity(self.target, self.options, self.package, self.files)

    def origin(self, unit: Unit | None = None) -> dict[str, str]:
        """Return what the metadata of a result says about where it comes from.

        Args:
            unit: whose result it is, and whose file is the input then; None for that of all of them.
        """
        version, digest = self.package.get("version"), self.package.get("digest")
        return {
            **({} if version is None else {"gradwire.version": str(version)}),
            **({"gradwire.digest": str(digest)} if digest else {}),
            "gradwire.options": _json(asdict(self.options) if unit is None else _computed(self.options)),
            "gradwire.input": hash_of([_entry(file) for file in (self.files if unit is None else [unit.file])]),
        }

    def blocks(self, unit: Unit) -> Iterator[Any]:
        """Iterate over the rows of a unit, all of the job's columns, a block at a time; at least one, perhaps empty.

        Raises:
            DataError: the file is damaged.
        """
        return rows_of(unit.file, self.schema, unit.start, unit.stop, self.options, unit.place)


class Source:
    """The files of a source, looked at: their columns, rows, and where they can be cut.

    Args:
        source: a file, a directory, a glob, an address of fsspec's, or several of these.
        decimal: the decimal mark of text.

    Attributes:
        files: in order.
        schema: pyarrow's, of all of them.
        cuts: for each file the numbers of rows before which a unit begins, and its number of rows.
        places: for each file where these rows are, by their number, as its format notes it.

    Raises:
        DataError: it cannot be read, or its files have other columns than the first.
    """

    def __init__(self, source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], decimal: str = ".") -> None:
        self.files = find_files(source)
        require_known(self.files)
        check_decimal(decimal)
        if decimal != "." and not any(file.is_text for file in self.files):
            raise UsageError(f"--decimal is for {' and '.join(TEXT)}, and the source has none: leave it out")
        with ThreadPoolExecutor(LOOKS) as pool:  # elsewhere each takes a round trip or two
            layouts = dict(zip(self.files, pool.map(lambda file: read_layout(file, decimal), self.files), strict=True))
        self.schema = _united({file.name: layout.schema for file, layout in layouts.items()})
        self.cuts = {file: _merged(layout.cuts) for file, layout in layouts.items()}
        self.places = {file: dict(zip(layout.cuts, layout.places, strict=False)) for file, layout in layouts.items()}


def plan(
    source: Source, sink: str | os.PathLike[str], options: BatchOptions, package: Mapping[str, Any], form: str | None
) -> Job:
    """Cut a source into units, and name them.

    Args:
        source: the rows.
        sink: address of a file, or of a directory.
        options: what is computed.
        package: what computes it, as ``Computation.package`` has it.
        form: the format of results; None for that of the sink's suffix, else Parquet.

    Raises:
        UsageError: the format cannot be written.
    """
    target = read_target(os.fspath(sink), form, is_one=len(source.files) == 1)
    units: list[Unit] = []
    rows = (
        [[each.name, str(each.type)] for each in source.schema],
        sorted(map(str, (source.schema.metadata or {}).items())),
    )
    for file in source.files:
        cuts = source.cuts[file]
        for start, stop in zip(cuts, cuts[1:] or cuts, strict=False):
            seed = [*rows, file.name, file.size, file.stamp, start, stop, package, _computed(options), target.form]
            name = f"part-{len(units):05d}-{hash_of(seed)[:16]}"
            units.append(Unit(len(units), file, start, stop, name, source.places[file].get(start)))
    job_id = hash_of([_identity(target, options, package, source.files), [unit.name for unit in units]])
    return Job(target, options, package, source.files, tuple(units), source.schema, job_id)


def rows_of(
    file: InputFile, schema: Any, start: int, stop: int, options: BatchOptions, place: Any = None
) -> Iterator[Any]:
    """Iterate over rows of a file as blocks with the columns of a schema; at least one, perhaps empty.

    Args:
        file: of a source.
        schema: the source's.
        start: the first row.
        stop: the row behind the last.
        options: how many rows a block has, and the decimal mark.
        place: where the first row is, as the source has it.

    Raises:
        DataError: the file is damaged, or a value cannot be held by the schema.
    """
    pa = import_extra("pyarrow", EXTRA)
    plain, is_empty = _plain(schema), True
    for block in read_blocks(file, start, stop, options.block_rows, options.decimal, place):
        is_empty = False
        yield _as(block, plain, file)
    if is_empty:
        yield pa.RecordBatch.from_arrays([pa.nulls(0, each.type) for each in plain], schema=plain)


def read_target(address: str, form: str | None, *, is_one: bool) -> Target:
    """Tell a file from a directory: by a slash, by what is there, by a suffix; else as the source is.

    Args:
        address: of the target.
        form: the format; None to tell by the suffix.
        is_one: whether the source is one file.

    Raises:
        UsageError: the format cannot be written.
    """
    if form is not None and form not in FORMS:
        raise UsageError(f"format {form!r}, expected one of {', '.join(FORMS)}")
    named = form_of_suffix("." + address.rstrip("/").rpartition("/")[2].rpartition(".")[2])
    is_directory = address.endswith("/") or (not is_url(address) and os.path.isdir(address))  # noqa: PTH112 - text
    is_file = not is_directory and (named is not None or is_one)
    return Target(address, form or (named if is_file else None) or PARQUET, is_file)


def hash_of(value: Any) -> str:
    """Return the SHA-256 of plain data, in hexadecimal."""
    return hashlib.sha256(_json(value).encode()).hexdigest()


def _identity(
    target: Target, options: BatchOptions, package: Mapping[str, Any], files: Iterable[InputFile]
) -> dict[str, Any]:
    return {
        "input": [_entry(file) for file in files],
        "package": dict(package),
        "options": {**asdict(options), "format": target.form, "columns": dict(options.columns)},
    }


def _entry(file: InputFile) -> dict[str, Any]:
    return {"name": file.name, "size": file.size, "stamp": file.stamp}


def _computed(options: BatchOptions) -> dict[str, Any]:
    """Return the options that decide about the result of a unit without bad rows."""
    return {key: value for key, value in asdict(options).items() if key != POLICY}


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _merged(cuts: tuple[int, ...]) -> tuple[int, ...]:
    """Return the cuts with as many rows between them as a unit has at least; the last is the number of rows."""
    merged = [0]
    for cut in cuts[1:]:
        if cut - merged[-1] >= UNIT_ROWS:
            merged.append(cut)
    if cuts[-1] > merged[-1]:
        merged.append(cuts[-1])
    return tuple(merged)


def _united(schemas: Mapping[str, Any]) -> Any:
    """Return the columns of all files: those of the first, with types that hold those of all."""
    pa = import_extra("pyarrow", EXTRA)
    (first, schema), *others = schemas.items()
    for name, other in others:
        if set(other.names) != set(schema.names):
            missing, extra = sorted(set(schema.names) - set(other.names)), sorted(set(other.names) - set(schema.names))
            raise DataError(
                f"{name} has other columns than {first}: missing {missing}, extra {extra}; give files of the same columns"
            )
        try:
            plain = [_plain(each).remove_metadata() for each in (schema, other)]
            united = pa.unify_schemas(plain, promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(f"{name} has columns of other types than {first}: {error}") from error
        schema = united.with_metadata(schema.metadata)
    return schema


def _plain(schema: Any) -> Any:
    """Return a schema with values in place of dictionaries, which differ from block to block."""
    pa = import_extra("pyarrow", EXTRA)
    return pa.schema(
        [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema],
        metadata=schema.metadata,
    )


def _as(block: Any, schema: Any, file: InputFile) -> Any:
    """Return a block with the columns of a schema, in its order and types; nothing may be lost."""
    if block.schema.equals(schema, check_metadata=True):
        return block
    pa = import_extra("pyarrow", EXTRA)
    try:
        columns = [block.column(field.name).cast(field.type) for field in schema]
    except pa.ArrowException as error:
        raise DataError(f"{file.name}: {error}; give files whose columns have the same types") from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)
