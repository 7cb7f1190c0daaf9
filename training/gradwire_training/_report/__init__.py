"""What came of a fit or a study, for people."""

from gradwire_training._report.comparison import Comparison, Pair
from gradwire_training._report.learning_curve import Study
from gradwire_training._report.report import Report, report
from gradwire_training._report.study import study
from gradwire_training._report.summary import Summary, summarize

__all__ = ["Comparison", "Pair", "Report", "Study", "Summary", "report", "study", "summarize"]
