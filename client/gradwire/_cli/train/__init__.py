"""``gradwire train``: its options, the task that they describe, and the tables that it prints."""

from gradwire._cli.train.options import TrainOptions
from gradwire._cli.train.start import read_start
from gradwire._cli.train.tables import show_summary
from gradwire._cli.train.task import Task, read_task, reporter

__all__ = ["Task", "TrainOptions", "read_start", "read_task", "reporter", "show_summary"]
