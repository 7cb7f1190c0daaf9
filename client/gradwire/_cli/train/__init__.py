"""What ``gradwire train`` is to fit, and what it prints at its end."""

from gradwire._cli.train.overrides import Wish, read_widths
from gradwire._cli.train.problem_list import show_problems
from gradwire._cli.train.summary import show_outcome
from gradwire._cli.train.task import Task, from_file, from_problem, is_file

__all__ = [
    "Task",
    "Wish",
    "from_file",
    "from_problem",
    "is_file",
    "read_widths",
    "show_outcome",
    "show_problems",
]
