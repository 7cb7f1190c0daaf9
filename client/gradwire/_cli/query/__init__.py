"""What ``gradwire query`` is asked, once or again and again."""

from gradwire._cli.query.request import Question, ask
from gradwire._cli.query.watch import watch

__all__ = ["Question", "ask", "watch"]
