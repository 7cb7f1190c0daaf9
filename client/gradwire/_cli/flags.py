"""Serving's way of writing flags, ``--enable_batching=true``, next to the usual one, ``--enable-batching``."""

from __future__ import annotations

from typing import Final

TRUE: Final = ("true", "1")
FALSE: Final = ("false", "0")


def usual_flags(arguments: list[str], switches: frozenset[str]) -> list[str]:
    """Rewrites long options so that both ways are understood.

    Args:
        arguments: of the command line.
        switches: names, with hyphens, of the options that are on or off.

    Returns:
        The arguments with hyphens in the names, and ``--name`` or ``--no-name`` for switches with a value.
    """
    return [_usual(argument, switches) if argument.startswith("--") else argument for argument in arguments]


def _usual(argument: str, switches: frozenset[str]) -> str:
    name, equals, value = argument[2:].partition("=")
    name = name.replace("_", "-")
    if name in switches and value.lower() in TRUE:
        return f"--{name}"
    if name in switches and value.lower() in FALSE:
        return f"--no-{name}"
    return f"--{name}{equals}{value}"
