"""Write a SavedModel's graph in one canonical form, so that the same function gives the same bytes.

TensorFlow numbers functions, custom gradients and captured inputs by counters that run through the whole process, and
stores the functions by those names: two exports of one model differ in some thousand lines that mean nothing. Here
they are numbered in the order in which the graph refers to them. A fresh process for each export, the alternative,
takes 5 to 7 s more and does not help a callable, which exists in one process only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tensorflow.core.protobuf import saved_model_pb2

from gradwire._package import GRAPH_FILE

COUNTERS: Final = re.compile(r"_\d+(?=_|$)")  # in __inference_call_1344, while_body_499_grad_5
# Other counted names: PartitionedCall-1344 (an attribute _gradient_op_type), CustomGradient-12, functions named in an
# attribute's bytes (forward_function_name), some of which no longer exist, and arguments of loops that are named after
# the function that does not use them, while_cond_498___redundant_placeholder0.
COUNTED: Final = re.compile(
    r"(?:Stateful)?PartitionedCall-\d+|CustomGradient-\d+|__(?:inference|forward|backward)_\w+|\w+___redundant_placeholder\d+"
)
CAPTURED: Final = "_user_specified_name"  # of an argument; of a captured one, a counter
Rename = Callable[[str], str]


def make_canonical(package: Path) -> None:
    """Rename what TensorFlow numbered in a package's graph, and sort its functions."""
    file = package / GRAPH_FILE
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in saved.meta_graphs:
        graph = meta_graph.graph_def
        names = _canonical_names(graph)
        _rename(meta_graph, lambda text, names=names: names.get(text, text))
        ordered = sorted(graph.library.function, key=lambda function: function.signature.name)
        for function in ordered:
            _rename_captured(function)
        del graph.library.function[:]
        graph.library.function.extend(ordered)
    file.write_bytes(saved.SerializeToString(deterministic=True))


def _canonical_names(graph: Any) -> dict[str, str]:
    """Number functions and counted values in the order in which the graph's nodes lead to them."""
    library = {function.signature.name: function for function in graph.library.function}
    functions: dict[str, None] = {}  # dicts, for they keep the order
    counted: dict[str, None] = {}

    def note(text: str) -> str:
        if text in library and text not in functions:
            functions[text] = None
            _rename(library[text], note)
        elif COUNTED.fullmatch(text):
            counted[text] = None
        return text

    _rename(graph.node, note)
    for name in sorted(library, key=_without_counters):  # those that only the object graph knows, or nothing
        note(name)
    return {old: f"{_without_counters(old)}_{index}" for index, old in enumerate(functions)} | {
        old: f"{_without_counters(old)}{'-' if '-' in old else '_'}{index}" for index, old in enumerate(counted)
    }


def _without_counters(name: str) -> str:
    return COUNTERS.sub("", name.partition("-")[0])


def _rename(content: Any, rename: Rename) -> None:
    """Pass every string of a message, or of messages, through a function; map keys and attributes' bytes too."""
    if isinstance(content, Mapping):
        _rename_map(content, rename)
    elif isinstance(content, Iterable):
        for message in content:
            _rename(message, rename)
    else:
        for field, value in content.ListFields():
            if field.message_type is not None:
                _rename(value, rename)
            elif field.type == field.TYPE_STRING or (field.type == field.TYPE_BYTES and field.name == "s"):
                if field.is_repeated:
                    value[:] = [_renamed(text, rename) for text in value]
                else:
                    setattr(content, field.name, _renamed(value, rename))


def _rename_map(entries: Any, rename: Rename) -> None:
    for key in sorted(entries, key=str):
        value = entries[key]
        is_message = not isinstance(value, (str, bytes, int, float))
        if is_message:
            _rename(value, rename)
        renamed = rename(key) if isinstance(key, str) else key
        content = value if is_message else _renamed(value, rename)
        if renamed != key:
            if is_message:
                entries[renamed].CopyFrom(content)
            else:
                entries[renamed] = content
            del entries[key]
        elif not is_message:
            entries[key] = content


def _renamed(value: Any, rename: Rename) -> Any:
    if isinstance(value, str):
        return rename(value)
    if isinstance(value, bytes) and COUNTED.fullmatch(text := value.decode("latin1")):
        return rename(text).encode("latin1")
    return value


def _rename_captured(function: Any) -> None:
    """Name captured arguments and results, which a counter names, by their position."""
    for argument in function.arg_attr.values():
        if argument.attr[CAPTURED].s.isdigit():
            del argument.attr[CAPTURED]
    arguments = _by_position(function.signature.input_arg, "argument")
    results = _by_position(function.signature.output_arg, "result")
    for node in function.node_def:
        node.input[:] = [arguments.get(source, source) for source in node.input]
    returned = {results.get(name, name): arguments.get(source, source) for name, source in function.ret.items()}
    function.ret.clear()
    function.ret.update(returned)


def _by_position(arguments: Iterable[Any], word: str) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for position, argument in enumerate(arguments):
        if COUNTERS.search(argument.name):
            renamed[argument.name] = f"{_without_counters(argument.name)}_{word}{position}"
            argument.name = renamed[argument.name]
    return renamed
