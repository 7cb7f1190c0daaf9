"""Why a user's function, or TensorFlow on its behalf, failed: the essence of an exception in one line.

TensorFlow and Keras wrap what went wrong in headings, tracebacks of generated code and lists of arguments, and export
calls them in many places. Here the wrapping is taken off, so that each refusal can say the exception, its message and
the user's own line.
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import keras
import tensorflow as tf

import gradwire
from gradwire._errors import ConversionError, GradwireError

LONGEST: Final = 400  # characters of a message; TensorFlow's can list whole graphs

_TRANSLATED: Final = "in user code:"  # how AutoGraph begins
_FRAME: Final = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+).*\n\s*(?P<code>.+)')
_LAYER: Final = re.compile(r"Exception encountered when calling (?:layer )?(?P<layer>.+?)\.?\n+(?P<rest>.*)", re.DOTALL)
_WITHIN: Final = re.compile(r"(?:Exception|Error) encountered:\s+")  # Keras, of an object in a file and of a layer
_BOLD: Final = re.compile(r"\x1b\[[0-9;]*m")
_MARKS: Final = re.compile(r"\{\{\w+ [^}]*\}\}|\[Op:\w+\](?: name: *\S*)?|\(defined at [^)]*\)|\[\[|\]\]")
_NODE: Final = re.compile(r"\{\{node ([^}]*)\}\}")
_OPERATION: Final = re.compile(r"\[Op:(?!__)(\w+)\]|Op<name=(\w+);")
_HEADINGS: Final = (
    "Graph execution error",
    "Detected at node",
    "Original stack trace",
    "<stack",
    "Stack trace",
    "Node: ",
)
_NOT_THE_USERS: Final = tuple(
    str(path)
    for path in (
        *(Path(module.__file__ or "").parent for module in (tf, keras, gradwire)),
        Path(__file__).parent,
        sysconfig.get_paths()["stdlib"],
    )
)
_GENERATED: Final = "__autograph_generated_file"
_DIFFERENTIATED: Final = "_gradient_function"  # TensorFlow's function that calls an operation's gradient


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn any exception that is not Gradwire's own into a ConversionError: what could not be done, and why."""
    try:
        yield
    except GradwireError as error:
        raise _raw(error) from error.__cause__  # AutoGraph translates these too
    except Exception as error:  # a user's function may raise anything, and so may TensorFlow
        raise ConversionError(f"{what}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Return an exception in one line: the operation or layer where known, its type, its message, the user's line."""
    raw = _raw(error)
    layer, message = _without_layers(str(raw))
    operation = _operation(raw)
    place = _place(error, raw)
    where = [f"in {text}" for text in (layer, operation) if text]
    text = f"{' '.join(where)}: " * bool(where) + type(raw).__name__
    brief = _brief(message)
    return text + (f": {brief}" if brief else "") + (f" ({place})" if place else "")


def reason_of_run(message: str) -> str:
    """Return TensorFlow's message about a graph that it ran, in one line: what was wrong, and in which operation."""
    nodes = _NODE.findall(message)
    return _brief(message) + (f" (in {nodes[-1]})" if nodes else "")


def _raw(error: BaseException) -> BaseException:
    """Return the exception that AutoGraph translated, or the one itself."""
    while str(error).startswith(_TRANSLATED) and error.__context__ is not None:
        error = error.__context__
    return error


def _without_layers(message: str) -> tuple[str, str]:
    """Take off what Keras writes around an exception in a layer: the innermost layer, and the message."""
    layer = ""
    while match := _LAYER.search(message):
        layer, message = match["layer"], match["rest"].split("\nArguments received by", 1)[0]
    return layer, _BOLD.sub("", _WITHIN.split(message)[-1])


def _brief(message: str) -> str:
    if message.lstrip().startswith(_TRANSLATED):  # AutoGraph's, whose original is gone
        message = _FRAME.sub("", message.replace(_TRANSLATED, ""))
    lines = [line.strip() for line in message.splitlines()]
    telling = [line for line in lines if line and not line.startswith(_HEADINGS) and not line.startswith('File "')]
    text = " ".join(_MARKS.sub(" ", " ".join(telling)).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _operation(error: BaseException) -> str:
    """Return the type of the operation that failed, or whose gradient did, where TensorFlow says it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == _DIFFERENTIATED and "op_name" in frame.f_locals:
            return f"the gradient of {frame.f_locals['op_name']}"
    match = _OPERATION.search(str(error))
    return next((name for name in match.groups() if name), "") if match else ""


def _place(error: BaseException, raw: BaseException) -> str:
    """Return the last line of the user's own code that led to an exception: file, line, function and text."""
    written = [(m["file"], m["line"], m["code"]) for m in _FRAME.finditer(str(error))]
    walked = [(frame.filename, frame.lineno, frame.line) for frame in traceback.extract_tb(raw.__traceback__)]
    for frames in (written, walked):
        own = [frame for frame in frames if _is_users(frame[0])]
        if own:
            file, line, code = own[-1]
            return f"{Path(file).name}, line {line}: {(code or '').strip()}"
    return ""


def _is_users(file: str) -> bool:
    return file.endswith(".py") and not file.startswith(_NOT_THE_USERS) and _GENERATED not in file
