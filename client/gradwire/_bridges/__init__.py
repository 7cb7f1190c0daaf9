"""What the bridges share: a model as one function of one vector."""

from gradwire._bridges.framework import (
    Form,
    FrameworkFunction,
    framework_function,
    listed,
    open_points,
    parameter_derivative,
    third_derivative,
)
from gradwire._bridges.last_call import LastCall
from gradwire._bridges.vector import Bridge, read_fixed, sizes, unravel

__all__ = [
    "Bridge",
    "Form",
    "FrameworkFunction",
    "LastCall",
    "framework_function",
    "listed",
    "open_points",
    "parameter_derivative",
    "read_fixed",
    "sizes",
    "third_derivative",
    "unravel",
]
