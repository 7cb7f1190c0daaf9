"""Fixtures of the export tests: the models of the table, and one fresh process that checks what the tests export."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.export.cases import CASES, Case
from tests.export.worker import Worker, started

from gradwire_export import _export
from gradwire_export._checks import model_check

_PARAMS = [pytest.param(name, marks=[pytest.mark.slow] if case.slow else []) for name, case in CASES.items()]


@pytest.fixture(params=_PARAMS, scope="session")
def case(request: pytest.FixtureRequest) -> Case:
    """Every model of the table in turn."""
    return CASES[request.param]


@pytest.fixture(scope="session")
def run_in_one_process() -> Iterator[Worker]:
    """Run all packages in one process instead of a fresh one each."""
    with started() as worker, pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_check, "run_fresh", worker)
        yield worker


@pytest.fixture
def without_card_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip reference points and verification, half of an export's time, where a test is about something else."""
    monkeypatch.setattr(_export, "complete_card", lambda _, card, checks: replace(card, checks=checks))
