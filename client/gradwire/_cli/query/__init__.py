"""Queries: one signature of a model, resolved once, then called once, repeatedly, or under load."""

from gradwire._cli.query.load_test import LoadTestResult, draw_points, run_load_test
from gradwire._cli.query.request import DIRECTION_OPTIONS, Query, check_direction_options, resolve_query
from gradwire._cli.query.watch import watch_query

__all__ = [
    "DIRECTION_OPTIONS",
    "LoadTestResult",
    "Query",
    "check_direction_options",
    "draw_points",
    "resolve_query",
    "run_load_test",
    "watch_query",
]
