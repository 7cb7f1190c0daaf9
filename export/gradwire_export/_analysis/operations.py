"""TensorFlow's operations as a derivative sees them: steps, kinks, constants, and those that no package may hold."""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf

# Their derivative is zero wherever there is one, and they jump; TensorFlow's gradient is None or zeros.
STEPS: Final = frozenset(
    (
        *("Floor", "Ceil", "Round", "Rint", "Sign", "Bucketize", "ArgMax", "ArgMin"),
        *("FloorDiv", "TruncateDiv", "FloorMod", "TruncateMod", "Mod"),
    )
)
# They jump, and their gradient in TensorFlow is that of the identity, so that networks can be trained through them.
STRAIGHT_THROUGH: Final = frozenset(
    f"FakeQuantWithMinMax{kind}" for kind in ("Args", "Vars", "VarsPerChannel")
) | frozenset(f"QuantizeAndDequantize{version}" for version in ("", "V2", "V3", "V4", "V4Grad"))
# Their result does not depend on the values of their inputs, or was declared not to.
CONSTANTS: Final = frozenset(
    (
        *("Shape", "ShapeN", "Size", "Rank", "TensorListLength", "TensorListElementShape", "TensorArraySizeV3"),
        *("ZerosLike", "OnesLike", "StopGradient", "PreventGradient", "BroadcastGradientArgs", "ConcatOffset"),
        *("InvertPermutation", "Assert", "NoOp"),
    )
)
HELD: Final = frozenset(("StopGradient", "PreventGradient"))  # of those, the ones that hold fixed what has a derivative
SELECTS: Final = frozenset(("Select", "SelectV2"))  # which side is taken is a kink or a jump, as in any branch
CALLS: Final = frozenset(("PartitionedCall", "StatefulPartitionedCall"))
BRANCHES: Final = frozenset(("If", "StatelessIf", "Case", "StatelessCase"))
LOOPS: Final = frozenset(("While", "StatelessWhile"))

_PYTHON: Final = frozenset(("PyFunc", "PyFuncStateless", "EagerPyFunc"))
_RANDOM: Final = frozenset(
    (
        *(
            "RandomUniform",
            "RandomUniformInt",
            "RandomStandardNormal",
            "RandomGamma",
            "RandomPoisson",
            "RandomPoissonV2",
        ),
        *("TruncatedNormal", "ParameterizedTruncatedNormal", "RandomShuffle", "Multinomial", "StatefulRandomBinomial"),
        *("StatefulUniform", "StatefulUniformInt", "StatefulUniformFullInt", "StatefulTruncatedNormal"),
        *("StatefulStandardNormal", "StatefulStandardNormalV2", "RngSkip", "RngReadAndSkip"),
    )
)
_WRITES: Final = ("Assign", "ResourceScatter", "ResourceApply", "ResourceSparseApply")


def why_forbidden(operation: tf.Operation) -> str | None:
    """Return why a package may not hold an operation, or None."""
    if operation.type in _PYTHON:
        return "runs Python, which no server has: write it in TensorFlow"
    if operation.type in _RANDOM:
        return "gives other numbers at every call: remove the randomness, or use tf.random.stateless_*"
    if operation.type.startswith(_WRITES):
        return (
            "changes a variable at every call, as batch normalisation in training mode does: export the inference form"
        )
    return None


class GradientProbe:
    """Whether TensorFlow's operations have gradients with respect to their inputs, tried once each."""

    def __init__(self) -> None:
        self._passes: dict[tuple[str, bytes, int], bool] = {}

    def passes(self, operation: tf.Operation, index: int) -> bool:
        """Return whether the operation, alone, has a gradient with respect to one of its inputs."""
        attributes = operation.node_def.attr
        key = (
            operation.type,
            b"".join(attributes[name].SerializeToString() for name in sorted(attributes)),
            index,
        )
        if key not in self._passes:
            self._passes[key] = _passes(operation, index)
        return self._passes[key]


def _passes(operation: tf.Operation, index: int) -> bool:
    with tf.Graph().as_default():
        inputs = [_stand_in(tensor) for tensor in operation.inputs]
        graph = tf.compat.v1.GraphDef()
        graph.versions.producer = operation.graph.graph_def_versions.producer
        node = graph.node.add(name="alone", op=operation.type, input=[f"input{i}" for i in range(len(inputs))])
        for name, value in operation.node_def.attr.items():
            if not name.startswith("_"):
                node.attr[name].CopyFrom(value)
        mapped = {f"input{i}": tensor for i, tensor in enumerate(inputs)}
        (alone,) = tf.import_graph_def(graph, input_map=mapped, return_elements=["alone"], name="")
        outputs = [tensor for tensor in alone.outputs if tensor.dtype.is_floating or tensor.dtype.is_complex]
        try:
            return tf.gradients(outputs, [inputs[index]])[0] is not None
        except LookupError:
            return False
        except (ValueError, TypeError, NotImplementedError, AttributeError):
            return True  # it has a gradient, which needs more than the stand-ins provide


def _stand_in(tensor: Any) -> Any:
    value = tf.get_static_value(tensor)
    if value is not None:
        return tf.constant(value, tensor.dtype)
    return tf.compat.v1.placeholder(tensor.dtype, tensor.shape)
