"""What the bridges share: a model as one function of one vector."""

from gradwire._bridges.framework import (
    FrameworkFunction,
    framework_function,
    listed,
    parameter_derivative,
    third_derivative,
)
from gradwire._bridges.last_call import LastCall
from gradwire._bridges.vector import Bridge, sizes, unravel

__all__ = [
    "Bridge",
    "FrameworkFunction",
    "LastCall",
    "framework_function",
    "listed",
    "parameter_derivative",
    "sizes",
    "third_derivative",
    "unravel",
]
