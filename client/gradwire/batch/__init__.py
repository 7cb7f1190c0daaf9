"""Apply a model to files, each row exactly once: units of rows, a Model, files of results (docs/batch.md).

It needs the extra ``gradwire[batch]``.
"""

from __future__ import annotations

from gradwire.batch._compute import BLOCK_ROWS, BatchOptions, Computation
from gradwire.batch._frames import apply, iterate
from gradwire.batch._job import Job, Source, Unit, plan
from gradwire.batch._ledger import Ledger
from gradwire.batch._ray import RayEngine
from gradwire.batch._run import BatchResult, Engine, LocalEngine, run
from gradwire.batch._source import FileSource
from gradwire.batch._unit import UnitRecord, run_unit

open_source = FileSource

__all__ = [
    "BLOCK_ROWS",
    "BatchOptions",
    "BatchResult",
    "Computation",
    "Engine",
    "FileSource",
    "Job",
    "Ledger",
    "LocalEngine",
    "RayEngine",
    "Source",
    "Unit",
    "UnitRecord",
    "apply",
    "iterate",
    "open_source",
    "plan",
    "run",
    "run_unit",
]
