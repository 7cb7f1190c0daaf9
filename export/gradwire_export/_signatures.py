"""The signatures of a package, as one plain module that Serving can restore.

Saving a Keras model, or a module that holds one, writes a package that loads and then fails on every call, for
Serving restores only what the graph's own restore op knows. A module of our own that holds the plain variables is
restored (docs/contract.md, "A trap").
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from gradwire import _contract as contract
from gradwire_export._derivatives import Pair, value_and_gradients
from gradwire_export._function import Function
from gradwire_export._row_derivatives import Tensors


class PackageModule(tf.Module):
    """Holds what the signatures need to be restored: variables, the card's file, tables."""

    def __init__(self, function: Function, card: Path) -> None:
        """Args: the function, and the card's file, which is copied into the package's assets."""
        super().__init__(name="gradwire")
        self.held = list(function.variables)
        self.holder = function.holder
        self.card = tf.saved_model.Asset(str(card))


def signatures(
    function: Function, module: PackageModule, names: Mapping[str, Mapping[str, str]], zeros: Collection[Pair]
) -> dict[str, Any]:
    """Traces every signature of the contract.

    Args:
        function: what is exported.
        module: holds the card's asset.
        names: ``{output: {input: tensor name}}`` of the first derivatives.
        zeros: pairs declared to be zero.

    Returns:
        Concrete functions by signature name, as ``tf.saved_model.save`` takes them.
    """

    def with_gradients(tensors: Tensors) -> Tensors:
        values, gradients = value_and_gradients(function, tensors, zeros)
        for output, by_input in names.items():
            values = values | {name: gradients[output][wrt] for wrt, name in by_input.items()}
        return values

    def card(tensors: Tensors) -> Tensors:
        rows = tf.shape(tensors[contract.CARD_QUERY])[0]
        return {contract.CARD_ANSWER: tf.fill([rows], tf.io.read_file(module.card.asset_path))}

    query = {contract.CARD_QUERY: tf.TensorSpec((None,), tf.int32, name=contract.CARD_QUERY)}
    return {
        contract.SERVING_DEFAULT: _concrete(with_gradients, function.inputs),
        contract.VALUE: _concrete(function.call, function.inputs),
        contract.CARD: _concrete(card, query),
    }


def _concrete(call: Callable[[Tensors], Tensors], specs: Mapping[str, tf.TensorSpec]) -> Any:
    def positional(*tensors: tf.Tensor) -> Tensors:
        answers = call(dict(zip(specs, tensors, strict=True)))
        # A signature may not hand back its own input, or Serving would answer under the input's name.
        return {name: tf.identity(answer) for name, answer in answers.items()}

    return tf.function(positional).get_concrete_function(*specs.values())
