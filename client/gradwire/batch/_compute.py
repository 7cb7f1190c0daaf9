"""What a job computes: a block of rows in, the same rows with results out."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError, UsageError
from gradwire._extras import import_extra
from gradwire._model import TRUSTED, Model, only_solve, outside_of, package_of, times, trusted
from gradwire._package import COMPUTE, COMPUTE_WORDS, SERVING_DEFAULT, SOLVE, UNCERTAINTY, VALUE
from gradwire._tables import EXTRA, elements_of, to_arrow
from gradwire.batch._inputs import find_bad_rows, null_rows, read_cast, read_input

Policy: TypeAlias = Literal["fail", "null", "skip"]
POLICIES: Final = ("fail", "null", "skip")
BLOCK_ROWS: Final = 65_536  # fits the cache of the log network: 12 million rows a second, 5 at a million rows
OUTSIDE: Final = "outside_domain"  # the column that flags rows

Arrays = dict[str, "NDArray[Any]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What is computed for each row; the same options and the same rows give the same bytes.

    Attributes:
        compute: the word for a signature: ``"value"``, ``"grad"``, ``"hessian"``, ``"jvp"``, ``"solve"``, …
        uncertainty: whether to add the error bars, ``f_std`` and ``df_dx_std``, and ``trusted``, whether a row is near
            enough to the samples (``Model.is_trusted``). It costs a call more.
        flag_outside: whether to add ``outside_domain``, whether a row is outside of the domain on the card.
        on_error: about rows with a null or with what is no number: ``"fail"``, ``"null"`` for results that are null,
            or ``"skip"`` to leave them out.
        columns: the table's name for inputs that have another there, ``{"spot": "S0"}``.
        decimal: the decimal mark of text, a point or a comma.
        block_rows: rows of a call. Another number may change the last digit of a result.

    Raises:
        UsageError: a word that there is not.
    """

    compute: str = "grad"
    uncertainty: bool = False
    flag_outside: bool = False
    on_error: Policy = "fail"
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    decimal: str = "."
    block_rows: int = BLOCK_ROWS

    def __post_init__(self) -> None:
        """Check the words."""
        if self.compute not in COMPUTE_WORDS:
            raise UsageError(f"compute {self.compute!r}, expected one of {', '.join(COMPUTE_WORDS)}")
        if self.on_error not in POLICIES:
            raise UsageError(f"on_error {self.on_error!r}, expected one of {', '.join(POLICIES)}")
        if self.block_rows < 1:
            raise UsageError(f"block_rows {self.block_rows}, expected at least one row")


class BadRow(DataError):  # noqa: N818 - it says what happened
    """A row that cannot be read, where that ends the job.

    Attributes:
        file: the name of the file that it is in.
    """

    file: str = ""


class Block(NamedTuple):
    """A computed block.

    Attributes:
        batch: pyarrow's RecordBatch: the rows and their results.
        rows: how many were read.
        outside: how many of them lie outside of the domain.
        non_finite: how many of them have a result that is not finite.
        bad: rows that could not be read: number in the file, and what is wrong.
    """

    batch: Any
    rows: int
    outside: int
    non_finite: int
    bad: Sequence[tuple[int, str]]


@final
class Computation:
    """A model and what to compute with it, for tables of one kind.

    Args:
        model: in process or remote, pinned to a version.
        options: what to compute.
        schema: pyarrow's, of the tables.

    Attributes:
        added: names of the columns that are added, in order.
        package: what computes: version and digest; of a package without a digest its address.

    Raises:
        DataError: a column is missing, or has a result's name.
        SignatureNotFound: the package lacks the signature.
    """

    def __init__(self, model: Model, options: BatchOptions, schema: Any) -> None:
        package = package_of(model)
        self._elements = elements_of(schema.names, "the table")
        columns = [*self._elements, *(name for name, column in options.columns.items() if column in self._elements)]
        name = only_solve(package, columns) if options.compute == SOLVE else COMPUTE[options.compute].name
        self._signature = package.value_signature() if name == VALUE else package.signature(name)
        names = package.result_names(self._signature.name)
        if name == VALUE and self._signature.name == SERVING_DEFAULT:
            names = tuple(tensor.name for tensor in package.card.outputs)
        bars = package.uncertainty_names() if options.uncertainty and name != UNCERTAINTY else ()
        flags = [TRUSTED] if options.uncertainty or name == UNCERTAINTY else []
        flags += [OUTSIDE] if options.flag_outside else []
        self._model, self._info, self._options = model, package, options
        self._aliases = {alias: of for alias, of in package.aliases().items() if alias in names}
        self._outputs = list(dict.fromkeys(self._aliases[each][0] if each in self._aliases else each for each in names))
        self.added = (*names, *bars, *flags)
        self._bases = {each: options.columns.get(each, each) for each in self._signature.inputs}
        self._require_columns(list(schema.names))
        self.package: dict[str, Any] = {
            "version": model.version,
            "digest": package.card.digest if package.has_card else "",
        }
        if not self.package["digest"]:
            self.package["address"] = package.address

    def __call__(self, block: Any, first_row: int, file: str, *, is_text: bool = False) -> Block:
        """Compute the results of a block.

        Args:
            block: pyarrow's RecordBatch.
            first_row: number of its first row in its file, from 0.
            file: the file's name, for messages.
            is_text: whether the file is of text, whose columns are text where a single cell is a word.

        Raises:
            BadRow: a row cannot be read, and that is not allowed; names file, row and column.
        """
        try:
            inputs, bad = self._read(block, first_row), {}
        except DataError as error:
            if self._options.on_error == "fail":
                bad_row = BadRow(f"{file}: {error}; or give --on-error null or skip")
                bad_row.file = file
                raise bad_row from error
            inputs, bad = self._read_good(block, first_row, is_text)
        good = np.setdiff1d(np.arange(block.num_rows), list(bad)) if bad else None
        results, outside = self._compute(inputs)
        columns = {name: _column(array) for name, array in results.items()}
        if good is not None and self._options.on_error == "skip":
            block = block.take(_indices(good))
        elif good is not None:
            columns = {name: column.take(_places(good, block.num_rows)) for name, column in columns.items()}
        pa = import_extra("pyarrow", EXTRA)
        batch = pa.RecordBatch.from_arrays(
            [*block.columns, *columns.values()], names=[*block.schema.names, *columns]
        ).replace_schema_metadata(block.schema.metadata)
        reasons = [(first_row + row, reason) for row, reason in sorted(bad.items())]
        rows = len(good) + len(bad) if good is not None else block.num_rows
        return Block(batch, rows, outside, _count_non_finite(results), reasons)

    def _read(self, block: Any, first_row: int, is_text: bool = False) -> Arrays:
        def read(name: str, block: Any, first_row: int) -> NDArray[Any]:
            base, options = self._bases[name], self._options
            return read_input(
                block, self._signature.inputs[name], base, self._elements[base],
                first_row=first_row, decimal=options.decimal, reads_text=is_text,
            )  # fmt: skip

        return {
            name: read_cast(lambda part, row, name=name: read(name, part, row), block, spec, first_row)
            for name, spec in self._signature.inputs.items()
        }

    def _read_good(self, block: Any, first_row: int, is_text: bool) -> tuple[Arrays, dict[int, str]]:
        """Return the inputs of the rows that can be read, and what is wrong with the others."""
        bad: dict[int, str] = {}
        for base in self._bases.values():
            nulls = np.flatnonzero(null_rows(block, self._elements[base]))
            bad |= {int(row): f"column {base!r} has a null in row {first_row + row}" for row in nulls if row not in bad}
        whole = np.setdiff1d(np.arange(block.num_rows), list(bad))
        present = block.take(_indices(whole))
        # The rows' own numbers: those of `present` have gaps.
        reasons = find_bad_rows(lambda part, _: self._read(part, 0, is_text), present, 0)
        bad |= {int(whole[row]): _renumbered(reason, first_row + int(whole[row])) for row, reason in reasons.items()}
        good = np.setdiff1d(np.arange(len(whole)), list(reasons))
        return self._read(present.take(_indices(good)), first_row, is_text), bad

    def _compute(self, inputs: Arrays) -> tuple[Arrays, int]:
        response: Arrays = self._model.run(self._signature.name, inputs, self._outputs)
        package, options = self._info, self._options
        solve = package.card.solves.get(self._signature.name) if package.has_card else None
        points = inputs if solve is None else {**inputs, solve.input: response[solve.input]}
        if options.uncertainty and self._signature.name != UNCERTAINTY:
            own = {name: points[name] for name in package.signature(UNCERTAINTY).inputs}
            response |= self._model.run(UNCERTAINTY, own)
        outside = outside_of(package, points) if package.has_card and package.domains else None
        rows = len(next(iter(inputs.values())))
        if TRUSTED in self.added:
            response[TRUSTED] = trusted(package, points, response) if rows else np.zeros(0, bool)
        if options.flag_outside:
            response[OUTSIDE] = np.zeros(rows, bool) if outside is None else outside
        named = {name: times(response[tensor], factor) for name, (tensor, factor) in self._aliases.items()}
        results = {name: named[name] if name in named else response[name] for name in self.added}
        return results, 0 if outside is None else int(outside.sum())

    def _require_columns(self, names: Sequence[str]) -> None:
        if unknown := sorted(self._options.columns.keys() - self._bases.keys()):
            raise UsageError(f"--map names {unknown}, expected inputs of the model: {list(self._bases)}")
        if missing := [base for base in self._bases.values() if base not in self._elements]:
            raise DataError(
                f"missing columns {missing}; the file has {list(self._elements)}: name a column for each input, "
                "or say which it is: --map INPUT=COLUMN"
            )
        for flag in (TRUSTED, OUTSIDE):
            if self.added.count(flag) > 1:
                raise DataError(f"the model has a tensor {flag!r} of its own: leave the flag out")
        if existing := [name for name in self.added if name in self._elements or name in names]:
            raise DataError(f"the file has columns {existing} already, where results would go: drop or rename them")


def _column(array: NDArray[Any]) -> Any:
    return to_arrow(array.reshape(len(array)) if array.shape[1:] == (1,) else array)


def _indices(rows: NDArray[Any]) -> Any:
    return import_extra("pyarrow", EXTRA).array(rows, "int64")


def _places(good: NDArray[Any], rows: int) -> Any:
    """Return for each row where its result stands among those of the good rows; null for a bad one."""
    places, mask = np.zeros(rows, np.int64), np.ones(rows, bool)
    places[good], mask[good] = np.arange(len(good)), False
    return import_extra("pyarrow", EXTRA).array(places, mask=mask)


def _renumbered(reason: str, row: int) -> str:
    """Return a reason for a row that was read by itself, as row 0."""
    return reason.replace("row 0", f"row {row}", 1)


def _count_non_finite(results: Mapping[str, NDArray[Any]]) -> int:
    rows: Any = None
    for array in results.values():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            own = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            rows = own if rows is None else rows | own
    return 0 if rows is None else int(rows.sum())
