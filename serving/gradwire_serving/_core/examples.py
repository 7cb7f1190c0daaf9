"""Classify and Regress: calls on ``tf.Example``, which no signature of a package takes, and their refusals.

The texts are those of TensorFlow Serving (``classifier.cc``, ``regressor.cc``, recorded in tests/conformance).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from google.protobuf import text_format
from tensorflow.core.protobuf import meta_graph_pb2

from gradwire._package import SERVING_DEFAULT
from gradwire_serving._core.status import Code, StatusError, invalid_argument


@final
@dataclass(frozen=True, slots=True)
class ExampleMethod:
    """A call on ``tf.Example``.

    Attributes:
        noun: what it computes, as the errors call it.
        max_outputs: how many outputs its signature may have.
        output_error: what more are refused with.
    """

    noun: str
    max_outputs: int
    output_error: str

    def refusal(self, signatures: Mapping[str, meta_graph_pb2.SignatureDef], name: str) -> StatusError:
        """Return why a signature (empty: ``serving_default``) cannot be called with examples."""
        signature = signatures.get(name or SERVING_DEFAULT)
        if signature is None:
            return invalid_argument(f"No signature was found with the name: {name or SERVING_DEFAULT}")
        if len(signature.inputs) != 1:
            return invalid_argument("Expected one input Tensor.")
        if len(signature.outputs) > self.max_outputs:
            return invalid_argument(self.output_error.format(len(signature.outputs)))
        if "inputs" not in signature.inputs:
            shown = text_format.MessageToString(signature)
            return invalid_argument(f"No {self.noun} inputs found in SignatureDef: {shown}")
        return StatusError(
            Code.UNIMPLEMENTED,
            f"The signature takes tf.Example, which the embedded server does not read for {self.noun}; use Predict",
        )


CLASSIFY: Final = ExampleMethod("classification", 2, "Expected one or two output Tensors, found {}")
REGRESS: Final = ExampleMethod("regression", 1, "Expected one output Tensor.")
