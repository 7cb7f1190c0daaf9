"""Signatures put together into one file: a graph, functions beside it, and the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Final

import numpy as np
import onnx  # pyright: ignore[reportMissingImports] - in the environment of the bridges
from onnx import helper, numpy_helper  # pyright: ignore[reportMissingImports] - in the environment of the bridges

from gradwire._package import ONNX_CARD, ONNX_DIGEST, ONNX_DOMAIN, ONNX_OPSET, onnx_digest
from gradwire_export._onnx.graph import SignatureGraph, initializers, value_info

PRODUCER: Final = "gradwire"
IR_VERSION: Final = 8  # the oldest with functions
SHARED: Final = 16  # elements; smaller constants are written where they are used
_OPSETS: Final = (("", ONNX_OPSET), (ONNX_DOMAIN, 1))


def onnx_model(graphs: Sequence[SignatureGraph], card: str) -> onnx.ModelProto:
    """Put signatures together.

    Args:
        graphs: the signatures; the first is what the file computes by itself.
        card: the card's JSON.
    """
    main, *others = graphs
    weights = {_key(array): name for name, array in main.constants.items() if array.size >= SHARED}
    model = alone(main, [_function(each, weights) for each in others])
    helper.set_model_props(model, {ONNX_CARD: card, ONNX_DIGEST: onnx_digest(model, card)})
    return model


def alone(graph: SignatureGraph, functions: Sequence[onnx.FunctionProto] = ()) -> onnx.ModelProto:
    """Return a signature as a model, with functions that it does not call."""
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            graph.signature.name,
            value_info(graph.signature, outputs=False),
            value_info(graph.signature, outputs=True),
            initializers(graph.constants),
        ),
        functions=functions,
        opset_imports=[helper.make_opsetid(*opset) for opset in (_OPSETS if functions else _OPSETS[:1])],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
        producer_version=version(PRODUCER),
    )


def _function(graph: SignatureGraph, weights: Mapping[tuple[str, tuple[int, ...], bytes], str]) -> onnx.FunctionProto:
    """Write a signature as a function, which takes the graph's weights where it needs them."""
    renamed: dict[str, str] = {}
    nodes = []
    for name, array in graph.constants.items():
        if array.size >= SHARED and _key(array) in weights:
            renamed[name] = weights[_key(array)]
        else:
            renamed[name] = f"_k{name}"
            nodes.append(helper.make_node("Constant", [], [renamed[name]], value=numpy_helper.from_array(array)))
    for node in graph.nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [renamed.get(name, name) for name in node.input]
        nodes.append(copy)
    shared = dict.fromkeys(name for name in renamed.values() if not name.startswith("_k"))
    return helper.make_function(
        ONNX_DOMAIN,
        graph.signature.name,
        [*graph.signature.inputs, *shared],
        list(graph.signature.outputs),
        nodes,
        [helper.make_opsetid("", ONNX_OPSET)],
    )


def _key(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()
