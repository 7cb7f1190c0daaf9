"""What the page can ask for, as plain data: one method a question."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

from gradwire._cli.console import number
from gradwire._cli.explore.copies import python_lines, query_command
from gradwire._cli.explore.samples import Samples
from gradwire._cli.explore.source import MOST_OPEN, Choice, Source
from gradwire._cli.explore.subject import MOST_SLIDERS, Subject, shown_unit
from gradwire._cli.explore.view import MOST_CURVES, ViewRequest, point_of, view
from gradwire._cli.io import CardView, TextTable, verdict, worst
from gradwire._errors import DeadlineExceeded, GradwireError, ModelNotFound, ServerUnreachable, printable
from gradwire._package import Card
from gradwire._verify import Check, verify
from gradwire._wire import VersionStatus

VERIFY_POINTS: Final = 16  # of a proof while somebody waits

Json = dict[str, Any]


@final
class Explorer:
    """One model, or several of a server, for the page.

    It may be used from several threads.

    Args:
        names: returns the names of the models that there are now.
        open_source: returns the source of one of them.
        where: what is explored, for the heading.
        samples: a file of samples of the first model, or None.
    """

    def __init__(
        self,
        names: Callable[[], Sequence[str]],
        open_source: Callable[[str], Source],
        where: str,
        samples: Path | None = None,
    ) -> None:
        self._names = names
        self._open_source = open_source
        self._where = where
        self._file = samples
        self._samples: Samples | None = None
        self._sources: dict[str, Source] = {}
        self._subjects: dict[tuple[str, int], Subject] = {}
        self._lost: set[str] = set()  # models whose server did not respond to the last poll
        self._lock = threading.Lock()

    @classmethod
    def of(cls, source: Source, where: str, samples: Path | None = None) -> Explorer:
        """Explore one model; it is opened, and the samples are read, so that what is wrong fails here.

        Raises:
            GradwireError: the model cannot be opened, has no card, or the samples cannot be read.
        """
        explorer = cls(lambda: [source.name], lambda _name: source, where, samples)
        subject = explorer.subject(source.name, str(source.first))
        if samples is not None:
            explorer._samples = Samples.read(samples, subject)
        return explorer

    def models(self) -> Json:
        """Return the names of the models."""
        return {"where": printable(self._where), "models": [printable(name) for name in self._names()]}

    def status(self, name: str, label: str = "") -> Json:
        """Return the state of each version, and which one is the newest, or has a label.

        A server that does not respond is an entry, and no error: the page polls this.
        """
        began = time.perf_counter()
        try:
            source = self._source(name)
            versions = source.versions()
        except GradwireError as error:
            gone = isinstance(error, (ServerUnreachable, DeadlineExceeded))
            if gone:
                self._lost.add(name)
            return {"reachable": not gone, "error": str(error), "versions": [], "newest": None, "labelled": None}
        if name in self._lost:
            self._lost.discard(name)
            source.forget()
        return {
            "reachable": True,
            "error": "",
            "versions": [_version(row) for row in versions],
            "newest": max((row.version for row in versions if row.state == "AVAILABLE"), default=None),
            "labelled": self._labelled(source, label) if label else None,
            "milliseconds": 1e3 * (time.perf_counter() - began),
        }

    def describe(self, name: str, at: str) -> Json:
        """Return what the page needs to lay itself out for a version: inputs with their sliders, and outputs.

        Raises:
            GradwireError: it cannot be reached, or has no card.
        """
        subject = self.subject(name, at)
        card, sliders = subject.card, subject.inputs[:MOST_SLIDERS]
        reason = "" if subject.has_bars else f"no error bars, because {card.no_uncertainty}"
        return {
            "name": printable(name),
            "card_name": printable(card.name),
            "first": str(self._source(name).first),
            "version": subject.version,
            "inputs": [
                {
                    "label": element.label,
                    "unit": shown_unit(element.tensor.unit),
                    "domain": [element.lower, element.upper] if element.has_domain else None,
                    "ends": list(element.ends),
                    "step": element.step,
                    "integer": element.is_integer,
                    "start": element.middle,
                }
                for element in sliders
            ],
            "fixed": len(subject.inputs) - len(sliders),
            "most_curves": MOST_CURVES,
            "outputs": [
                {"label": element.label, "unit": shown_unit(element.tensor.unit)} for element in subject.outputs
            ],
            "no_bars": printable(reason),
            "samples": None if self._samples is None else f"{len(self._samples):,} samples of {self._samples.what}",
        }

    def view(self, name: str, raw: Any) -> Json:
        """Return the curves, the map and the numbers at a point; see ``ViewRequest``.

        Raises:
            GradwireError: the request does not fit, or a call failed.
        """
        request = ViewRequest.read(raw)
        try:
            return self._view(name, request)
        except ModelNotFound:  # a hot swap between the choice of a version and the call
            self._source(name).forget()
            return self._view(name, request)

    def card(self, name: str, at: str) -> Json:
        """Return the card as tables of text, the checks of export among them.

        Raises:
            GradwireError: it cannot be reached, or has no card.
        """
        subject = self.subject(name, at)
        return {"version": subject.version, "tables": _card_tables(subject.card)}

    def verify(self, name: str, at: str) -> Json:
        """Verify a version here and now, over the wire; return the checks as a table.

        Raises:
            GradwireError: it cannot be reached, or has no derivatives.
        """
        subject = self.subject(name, at)
        verification = verify(subject.model, points=VERIFY_POINTS)
        checks = _check_table(f"verified now, at {VERIFY_POINTS} points", verification.checks)
        return {"version": subject.version, "passed": verification.passed, "tables": [_table(checks)]}

    def subject(self, name: str, at: str) -> Subject:
        """Return a version, opened once.

        Raises:
            GradwireError: it cannot be reached, or has no card.
        """
        source = self._source(name)
        version = source.resolve(Choice.read(at))
        model, key = source.model(version), (name, version)
        known = self._subjects.get(key)
        if known is None or known.model is not model:
            known = self._subjects[key] = Subject(model, version)
            if len(self._subjects) > MOST_OPEN:
                del self._subjects[next(iter(self._subjects))]
        return known

    def close(self) -> None:
        """Release every connection."""
        for source in self._sources.values():
            source.close()

    @staticmethod
    def _labelled(source: Source, label: str) -> int | None:
        try:
            return source.resolve(Choice(label=label))
        except GradwireError:
            return None  # the view says why

    def _source(self, name: str) -> Source:
        with self._lock:
            if name not in self._sources:
                if name not in self._names():
                    raise ModelNotFound(f"there is no model {name!r} here, expected one of {list(self._names())}")
                self._sources[name] = self._open_source(name)
            return self._sources[name]

    def _view(self, name: str, request: ViewRequest) -> Json:
        source, choice = self._source(name), Choice.read(request.at)
        subject = self.subject(name, request.at)
        beside = self.subject(name, request.beside) if request.beside else None
        flat = point_of(subject, request.point)
        shown = view(subject, beside, request, flat, self._samples)
        query = query_command(source, choice, subject, flat)
        return shown | {"query": printable(query), "python": printable(python_lines(source, choice, subject, flat))}


def _version(row: VersionStatus) -> Json:
    return {"version": row.version, "state": printable(row.state), "error": printable(row.error)}


def _card_tables(card: Card) -> list[Json]:
    shown = CardView.of(card)
    parts: list[TextTable] = [shown.inputs, shown.outputs]
    if shown.errors is not None:
        parts.append(shown.errors)
    if shown.checks:
        parts.append(_check_table("the proof: derivatives checked when the package was exported", shown.checks))
    if shown.gate is not None:
        parts.append(shown.gate)
    about = {
        "signatures": shown.signatures,
        "reference": shown.reference,
        "created": shown.created,
        "digest": shown.digest,
    }
    rows = tuple((key, value) for key, value in about.items() if value)
    return [_table(part) for part in (*parts, *shown.details, TextTable("package", ("package", ""), rows))]


def _check_table(title: str, checks: Sequence[Check]) -> TextTable:
    rows = tuple((f"{check.number} {check.title}", number(worst(check)), verdict(check)) for check in checks)
    return TextTable(title, ("check", "worst / allowed", ""), rows)


def _table(part: TextTable) -> Json:
    cells: Mapping[str, Any] = {
        "title": printable(part.title),
        "columns": [printable(column) for column in part.columns],
        "rows": [[printable(cell) for cell in row] for row in part.rows],
        "note": printable(part.note),
    }
    return dict(cells)
