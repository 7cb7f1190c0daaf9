"""What TensorFlow's operations are to a derivative: steps, kinks, constants, or nothing that a package may hold."""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf

# Their derivative is zero wherever there is one, and they jump; TensorFlow gives None or zeros.
STEPS: Final = frozenset(
    (
        "Floor",
        "Ceil",
        "Round",
        "Rint",
        "Sign",
        "FloorDiv",
        "TruncateDiv",
        "FloorMod",
        "TruncateMod",
        "Mod",
        "Bucketize",
        "ArgMax",
        "ArgMin",
    )
)
# They jump, and TensorFlow gives them the gradient of the identity, so that networks can be trained through them.
STRAIGHT_THROUGH: Final = frozenset(
    f"FakeQuantWithMinMax{kind}" for kind in ("Args", "Vars", "VarsPerChannel")
) | frozenset(f"QuantizeAndDequantize{version}" for version in ("", "V2", "V3", "V4", "V4Grad"))
# Their result does not depend on the numbers that they take, or was declared not to.
CONSTANTS: Final = frozenset(
    (
        "Shape",
        "ShapeN",
        "Size",
        "Rank",
        "ZerosLike",
        "OnesLike",
        "StopGradient",
        "PreventGradient",
        "BroadcastGradientArgs",
        "ConcatOffset",
        "TensorListLength",
        "TensorListElementShape",
        "TensorArraySizeV3",
        "InvertPermutation",
        "Assert",
        "NoOp",
    )
)
SELECTS: Final = frozenset(("Select", "SelectV2"))  # which side is taken is a kink or a jump, as in any branch
CALLS: Final = frozenset(("PartitionedCall", "StatefulPartitionedCall"))
BRANCHES: Final = frozenset(("If", "StatelessIf", "Case", "StatelessCase"))
LOOPS: Final = frozenset(("While", "StatelessWhile"))

_PYTHON: Final = frozenset(("PyFunc", "PyFuncStateless", "EagerPyFunc"))
_RANDOM: Final = frozenset(
    (
        "RandomUniform",
        "RandomUniformInt",
        "RandomStandardNormal",
        "TruncatedNormal",
        "ParameterizedTruncatedNormal",
        "RandomGamma",
        "RandomPoisson",
        "RandomPoissonV2",
        "RandomShuffle",
        "Multinomial",
        "StatefulUniform",
        "StatefulUniformInt",
        "StatefulUniformFullInt",
        "StatefulStandardNormal",
        "StatefulStandardNormalV2",
        "StatefulTruncatedNormal",
        "StatefulRandomBinomial",
        "RngSkip",
        "RngReadAndSkip",
    )
)
_WRITES: Final = ("Assign", "ResourceScatter", "ResourceApply", "ResourceSparseApply")


def why_forbidden(operation: tf.Operation) -> str | None:
    """Says why a package may not hold an operation, or None.

    Args:
        operation: of a traced function.
    """
    if operation.type in _PYTHON:
        return "runs Python, which no server has: write it in TensorFlow"
    if operation.type in _RANDOM:
        return "gives other numbers at every call: take the randomness out, or use tf.random.stateless_*"
    if operation.type.startswith(_WRITES):
        return (
            "changes a variable at every call, as batch normalisation in training mode does: export the inference form"
        )
    return None


class Probe:
    """Asks TensorFlow whether an operation passes a gradient on to one of its inputs, and remembers the answers."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes, int], bool] = {}

    def passes(self, operation: tf.Operation, index: int) -> bool:
        """Whether the operation, alone, has a gradient by its input.

        Args:
            operation: not a call, a branch or a loop.
            index: of the input.
        """
        attributes = operation.node_def.attr
        key = (
            operation.type,
            b"".join(attributes[name].SerializeToString() for name in sorted(attributes)),
            index,
        )
        if key not in self._known:
            self._known[key] = _passes(operation, index)
        return self._known[key]


def _passes(operation: tf.Operation, index: int) -> bool:
    with tf.Graph().as_default():
        given = [_stand_in(tensor) for tensor in operation.inputs]
        graph = tf.compat.v1.GraphDef()
        graph.versions.producer = operation.graph.graph_def_versions.producer
        node = graph.node.add(name="alone", op=operation.type, input=[f"given{i}" for i in range(len(given))])
        for name, value in operation.node_def.attr.items():
            if not name.startswith("_"):
                node.attr[name].CopyFrom(value)
        mapped = {f"given{i}": tensor for i, tensor in enumerate(given)}
        (alone,) = tf.import_graph_def(graph, input_map=mapped, return_elements=["alone"], name="")
        outputs = [tensor for tensor in alone.outputs if tensor.dtype.is_floating or tensor.dtype.is_complex]
        try:
            return tf.gradients(outputs, [given[index]])[0] is not None
        except LookupError:
            return False
        except (ValueError, TypeError, NotImplementedError, AttributeError):
            return True  # it has a gradient, which wants to know more than is known here


def _stand_in(tensor: Any) -> Any:
    known = tf.get_static_value(tensor)
    if known is not None:
        return tf.constant(known, tensor.dtype)
    return tf.compat.v1.placeholder(tensor.dtype, tensor.shape)
