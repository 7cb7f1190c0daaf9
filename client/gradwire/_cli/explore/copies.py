"""What the page has to copy: the same numbers by the command, and by a program."""

from __future__ import annotations

import keyword
import math
import shlex
from collections.abc import Sequence
from typing import Final

from gradwire._cli.explore.source import Choice, Source
from gradwire._cli.explore.subject import Floats, Subject
from gradwire._package import BY_NAME

RESERVED: Final = ("of", "wrt", "out")  # arguments of the methods, so inputs of these names go by position
WIDTH: Final = 110  # characters of a line of the program


def query_command(source: Source, choice: Choice, subject: Subject, flat: Floats) -> str:
    """Return the ``gradwire query`` of a point."""
    words, _ = source.words(choice)
    points = [f"{name}={','.join(numbers)}" for name, numbers in _numbers(subject, flat)]
    return shlex.join(["gradwire", "query", *words, *(word for each in points for word in ("--input", each))])


def python_lines(source: Source, choice: Choice, subject: Subject, flat: Floats) -> str:
    """Return a program that prints value and gradient at a point."""
    _, opened = source.words(choice)
    entries = list(_numbers(subject, flat))
    by_name = all(name.isidentifier() and not keyword.iskeyword(name) and name not in RESERVED for name, _ in entries)
    points = [_literal(numbers, subject.card.inputs[i].shape) for i, (_, numbers) in enumerate(entries)]
    arguments = [f"{name}={point}" if by_name else point for (name, _), point in zip(entries, points, strict=True)]
    many = len(subject.card.inputs) > 1 or len(subject.card.outputs) > 1
    names = ("values", "gradients") if many else ("f", "df")
    call = ", ".join(arguments)
    lines = [*(["import pathlib", ""] if "pathlib." in opened else []), "import gradwire", "", f"model = {opened}"]
    if len(call) > WIDTH:
        lines += [f"{names[0]}, {names[1]} = model.value_and_grad(", *(f"    {each}," for each in arguments), ")"]
    else:
        lines.append(f"{names[0]}, {names[1]} = model.value_and_grad({call})")
    lines += [f"print({names[0]})", f"print({names[1]})"]
    if subject.has_bars:
        lines.append(
            f"print(model.uncertainty({call}))" if len(call) <= WIDTH else "# error bars: model.uncertainty(…)"
        )
    return "\n".join(lines) + "\n"


def _numbers(subject: Subject, flat: Floats) -> list[tuple[str, list[str]]]:
    """Return each input with its elements as text, in the card's order."""
    entries: list[tuple[str, list[str]]] = []
    start = 0
    for tensor in subject.card.inputs:
        size = math.prod(tensor.least_row_shape)
        part = flat[start : start + size].tolist()
        start += size
        is_integer = BY_NAME[tensor.dtype].numpy.kind in "iub"
        entries.append((tensor.name, [str(int(number)) if is_integer else repr(float(number)) for number in part]))
    return entries


def _literal(numbers: Sequence[str], shape: Sequence[int]) -> str:
    """Return nested lists of a row, or the number of a scalar."""
    if tuple(shape) in ((), (1,)):
        return numbers[0]
    if len(shape) <= 1:
        return f"[{', '.join(numbers)}]"
    step = len(numbers) // max(shape[0], 1)
    return f"[{', '.join(_literal(numbers[i : i + step], shape[1:]) for i in range(0, len(numbers), step))}]"
