"""The gate: a new version is published only if it is no worse than the one that serves, on the same rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, final

from numpy.typing import ArrayLike

from gradwire import Evaluation, Model, TensorErrors, connect, evaluate, load
from gradwire._errors import CheckFailed, DataError, UsageError
from gradwire_export._package import latest_version

CHANCE: Final = 0.05  # that a package as good as the old one is refused, over all its tensors together
NEGLIGIBLE: Final = 1.01  # times: a per cent is never worth a refusal, however well the rows tell it
_WAY_OUT: Final = (
    "nothing was published: retrain, allow more with --gate-tolerance (tolerance), or publish all the same with --force "
    "REASON (force)"
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GatedTensor:
    """One tensor at the gate.

    Attributes:
        old: rmse of the version that serves; None where it has no such tensor, or no finite prediction.
        new: rmse of the new one.
        ratio: new / old; None where there is nothing to compare with.
        allowed: the largest ratio that passes.
        passed: whether it did.
        labels: how many labels were compared.
        undefined: predictions of the new one that are not finite where the old one's are.
    """

    old: float | None
    new: float | None
    ratio: float | None
    allowed: float
    passed: bool
    labels: int
    undefined: int = 0


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says.

    Attributes:
        rows: how many rows both were measured on.
        against: their file.
        baseline: ``version``, ``digest`` and time of the package that it was compared with, and ``which`` one that is,
            such as "the latest of models/wing"; empty where there is none.
        tensors: outputs and derivatives by name, those that have labels.
        forced: the reason to publish a package that did not pass; None where it passed.
    """

    rows: int
    against: str
    baseline: Mapping[str, str]
    tensors: Mapping[str, GatedTensor]
    forced: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every tensor passed."""
        return all(tensor.passed for tensor in self.tensors.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data, as the card has it under ``checks.gate``."""
        tensors = {name: asdict(tensor) for name, tensor in self.tensors.items()}
        about = {"passed": self.passed, "forced": self.forced, "rows": self.rows, "against": self.against}
        return about | {"baseline": dict(self.baseline), "tensors": tensors}


class GateRefused(CheckFailed):
    """A package is worse than the version that serves, and was not published.

    Attributes:
        verdict: what the gate said.
    """

    def __init__(self, verdict: Verdict) -> None:
        worse = "; ".join(_told(name, tensor) for name, tensor in verdict.tensors.items() if not tensor.passed)
        super().__init__(
            f"worse than version {verdict.baseline['version']}, {verdict.baseline['which']}, on the {verdict.rows:,} rows of "
            f"{verdict.against}: {worse}: {_WAY_OUT}"
        )
        self.verdict = verdict

    def __reduce__(self) -> tuple[object, ...]:
        return GateRefused, (self.verdict,)


def _told(name: str, tensor: GatedTensor) -> str:
    if tensor.undefined:
        return f"{name} is not finite at {tensor.undefined:,} labels where it was"
    return f"{name} has rmse {tensor.new:.3g} after {tensor.old:.3g}, {tensor.ratio:.3g} times, allowed {tensor.allowed:.3g}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Rows on which a new version must be no worse than the one that serves.

    By default no tensor may be worse by more than the rows can tell: two packages that err alike have another ratio of
    their errors on every sample of rows, which passes the limit for any of the tensors in at most 5 % of the samples.
    The limit is the ratio that 0.05 / tensors of all ways exceed to exchange the two packages in some of the rows (the
    paired permutation test), and at least 1.01; where fewer than 10 rows tell the two apart it is 1.01. The rows should
    be ones that neither version was fitted to.

    Args:
        rows: a file of inputs and labels, or ``{column: array}``, as for ``gradwire.evaluate``.
        tolerance: the largest ratio new / old of the rmse instead: one number for all, or ``{tensor: number}`` for
            some, such as ``{"cl": 1.1, "dcl_dmach": 1.5}``, the others by default.
        force: the reason to publish a package that does not pass; it is kept on the card.
        against: the package to compare with: the number of a version in the model's directory; the directory of a
            package; or the address of a server and perhaps a label, ``"localhost:8500/stable"``, whose model has the
            directory's name. By default it is the highest version in the directory, which a server takes that is not
            told otherwise.
        columns: ``{input or output: column}`` where the column has another name.
        derivatives: columns of derivatives under names of their own, as for ``gradwire.evaluate``.
        ignore: columns to leave out.
        decimal: the decimal mark of CSV.

    Raises:
        DataError: there is no such file.
        UsageError: a tolerance that is not above 0, or an empty reason.
    """

    rows: str | PathLike[str] | Mapping[str, ArrayLike]
    tolerance: float | Mapping[str, float] | None = None
    force: str | None = None
    against: int | str | PathLike[str] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    derivatives: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ignore: Collection[str] = ()
    decimal: str = "."

    def __post_init__(self) -> None:
        if not isinstance(self.rows, Mapping) and not Path(self.rows).is_file():
            raise DataError(f"the rows of the gate are {str(self.rows)!r}, and there is no such file")
        limits = self.tolerance.values() if isinstance(self.tolerance, Mapping) else [self.tolerance]
        if wrong := [limit for limit in limits if limit is not None and not 0 < limit < math.inf]:
            raise UsageError(f"tolerance {wrong[0]}, expected the largest ratio of new to old error, such as 1.05")
        if self.force is not None and not self.force.strip():
            raise UsageError("force is empty, expected the reason, which is kept on the card")

    def judge(self, new: Path, to: Path) -> Verdict:
        """Compare a package with the one that serves.

        Args:
            new: directory of the package.
            to: directory of the model; where it has no version yet, and no other package is named, everything passes.

        Raises:
            DataError: the rows cannot be read, or have no label that both have.
            UsageError: a tolerance for a tensor that has no labels, or there is nothing where the other should be.
            GateRefused: the package is worse, and there is no reason to publish it all the same.
        """
        with load(new) as model, self._baseline(to) as (old, about):
            verdict = self._verdict(self._evaluate(model, old), about)
        if not verdict.passed and self.force is None:
            raise GateRefused(verdict)
        return verdict

    def require_baseline(self, to: Path) -> None:
        """Raise unless the package to compare with can be reached: a wrong name is told before anything is exported.

        Args:
            to: directory of the model, as for ``judge``.

        Raises:
            UsageError: there is nothing where it should be.
            ServerUnreachable: no server responds at the address.
            ModelNotFound: the server does not serve the model, or the label.
        """
        directory, which = self._place(to)
        if directory is None and which:
            with self._served(to):
                pass

    def _place(self, to: Path) -> tuple[Path | None, str]:
        """Return the directory of the package to compare with, and which it is.

        There is no directory where a server has the package, and neither where nothing serves yet.
        """
        against = "" if self.against is None else str(self.against)
        if not against:
            latest = latest_version(to)
            return latest, "" if latest is None else f"the latest of {to}"
        directory = to / against if against.isdecimal() else Path(against)
        if directory.is_dir():
            return directory, f"chosen from {to}" if against.isdecimal() else f"of {against}"
        if ":" in against:
            return None, f"which {against} serves"
        raise UsageError(
            f"the gate compares with {against!r}, and there is no directory {directory}: give the number of a version in "
            f"{to}, the directory of a package, or HOST:PORT or HOST:PORT/LABEL of a server"
        )

    @contextmanager
    def _served(self, to: Path) -> Generator[Model]:
        address, _, label = str(self.against).partition("/")
        with connect(address, to.absolute().name, label=label or None) as served, served.pinned() as old:
            yield old

    @contextmanager
    def _baseline(self, to: Path) -> Generator[tuple[Model | None, dict[str, str]]]:
        """Open the package to compare with, and say which it is; None where nothing serves yet."""
        directory, which = self._place(to)
        if not which:
            yield None, {}
            return
        with self._served(to) if directory is None else load(directory) as old:
            yield old, _about(old, which)

    def _evaluate(self, model: Model, baseline: Model | None) -> Evaluation:
        inputs = {tensor.name for tensor in model.card.inputs}
        return evaluate(
            model,
            self.rows,
            baseline=baseline,
            inputs={name: column for name, column in self.columns.items() if name in inputs},
            outputs={name: column for name, column in self.columns.items() if name not in inputs},
            derivatives=self.derivatives,
            ignore=self.ignore,
            decimal=self.decimal,
        )

    def _verdict(self, evaluation: Evaluation, baseline: Mapping[str, str]) -> Verdict:
        names = [each.name for each in evaluation.tensors]
        limits = self.tolerance if isinstance(self.tolerance, Mapping) else {}
        if unknown := [name for name in limits if name not in names]:
            raise UsageError(f"tolerance names {unknown[0]!r}, expected a tensor that has labels: {', '.join(names)}")
        tensors = {each.name: self._gated(each, len(names)) for each in evaluation.tensors}
        verdict = Verdict(evaluation.rows, evaluation.against, baseline, tensors)
        if baseline and all(tensor.ratio is None and not tensor.undefined for tensor in tensors.values()):
            raise DataError(f"{evaluation.against} has no label that tells the new package from the one that serves")
        return verdict if verdict.passed else replace(verdict, forced=self.force)

    def _gated(self, each: TensorErrors, tensors: int) -> GatedTensor:
        labels, ratio = each.all.labels, each.ratio
        if ratio is None:  # nothing serves yet, or the output is new
            limit = self._limit(each.name) or NEGLIGIBLE
            return GatedTensor(old=None, new=each.all.rmse, ratio=None, allowed=limit, passed=True, labels=labels)
        allowed = self._limit(each.name) or max(NEGLIGIBLE, ratio.limit(CHANCE / tensors) or 1.0)
        return GatedTensor(
            old=ratio.baseline,
            new=ratio.rmse,
            ratio=ratio.ratio,
            allowed=allowed,
            passed=not ratio.undefined and (ratio.ratio is None or ratio.ratio <= allowed),
            labels=labels,
            undefined=ratio.undefined,
        )

    def _limit(self, name: str) -> float | None:
        return self.tolerance.get(name) if isinstance(self.tolerance, Mapping) else self.tolerance


def _about(old: Model, which: str) -> dict[str, str]:
    version = str(old.status()[0].version)
    return {"version": version, "digest": old.card.digest, "created": old.card.created, "which": which}
