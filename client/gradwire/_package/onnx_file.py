"""What an ONNX file of Gradwire is (docs/onnx.md): which parts of it are what.

The graph computes one signature; every other one is a function of the file, of the domain below, whose body consists of
ONNX's own operators. A function takes the signature's inputs, and then those of the graph's weights that it needs.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

ONNX_SUFFIX: Final = ".onnx"
ONNX_DOMAIN: Final = "gradwire.signature"  # of the functions; each has its signature's name
ONNX_OPSET: Final = 18  # the oldest with all that is written; onnxruntime 1.14 and later run it
ONNX_CARD: Final = "gradwire.card"  # key of the card's JSON in the file's metadata
ONNX_DIGEST: Final = "gradwire.digest"  # key of ``onnx_digest`` there


def onnx_digest(model: Any, card: str) -> str:
    """Hash what a file computes, and the card that describes it.

    Args:
        model: an ``onnx.ModelProto``.
        card: its card's JSON.

    Returns:
        ``sha256:`` and the hash over the graph, the functions, the versions of the operators, and the card.
    """
    total = hashlib.sha256()
    for part in (*model.opset_import, model.graph, *model.functions):
        content = part.SerializeToString(deterministic=True)
        total.update(len(content).to_bytes(8, "big"))
        total.update(content)
    total.update(card.encode())
    return f"sha256:{total.hexdigest()}"
