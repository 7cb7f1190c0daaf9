"""Fits and studies for people: tables, figures and pages."""

from gradwire_training._report.figures import draw
from gradwire_training._report.report import Report, report
from gradwire_training._report.study import Study, study
from gradwire_training._report.summary import Summary, summarize

__all__ = ["Report", "Study", "Summary", "draw", "report", "study", "summarize"]
