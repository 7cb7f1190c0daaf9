"""The network behind a package, so that a fit can start from it: its layers in a file, its weights in the variables.

The file is a few kB whatever the weights, which the package has already; the SavedModel's graph alone does not tell
the layers. It lies in ``assets.extra``, of which a server reads nothing but the warm-up requests, and is no part of
the digest: names of layers are counted by Keras, and would make two exports of one function differ.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from gradwire._errors import ConversionError, PackageError
from gradwire._package import CARD_FILE, NETWORK_FILE, VARIABLES, Card
from gradwire_export._sources import function_of, has_symbolic_inputs

# Of an output's scale, at the reference points: float32 rounds to 1e-6, other weights are far off.
TOLERANCE: Final = 1e-3
_WAY_OUT: Final = "give the directory of the fit, or a .keras file"


def write_network(package: Path, model: Any) -> None:
    """Write the layers of a Functional or Sequential Keras model into a package; nothing for any other source."""
    if not has_symbolic_inputs(model):
        return
    try:
        text = json.dumps(keras.saving.serialize_keras_object(model))
    # Layers without a configuration: Keras has many ways to say so.
    except (TypeError, ValueError, NotImplementedError):
        return
    file = package / NETWORK_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def read_network(package: Path) -> keras.Model:
    """Build the Keras model that a package was exported from.

    Args:
        package: a version directory.

    Returns:
        A model with the package's weights, in its dtype.

    Raises:
        PackageError: the package has no network, its layers cannot be built, or they do not compute what the card has
            at its reference points.
    """
    file = package / NETWORK_FILE
    if not file.is_file():
        raise PackageError(
            f"{package} does not hold its network: it was exported from a function, a SavedModel or a subclassed model, "
            f"or by an older version; {_WAY_OUT}"
        )
    try:
        model = keras.saving.deserialize_keras_object(json.loads(file.read_text(encoding="utf-8")), safe_mode=True)
        reader = tf.train.load_checkpoint(str(package / VARIABLES / "variables"))
        for index, variable in enumerate(function_of(model).variables):  # in the order in which export held them
            variable.assign(reader.get_tensor(f"held/{index}/.ATTRIBUTES/VARIABLE_VALUE"))
        _require_reference(package, model)
    except (OSError, ValueError, TypeError, KeyError, ConversionError, tf.errors.OpError) as error:
        raise PackageError(f"the network of {package} cannot be built again ({error}); {_WAY_OUT}") from error
    return model


def _require_reference(package: Path, model: keras.Model) -> None:
    """Raise a ValueError where the model is not the package's, at the points on its card."""
    card = Card.from_json((package / CARD_FILE).read_bytes())
    if not card.reference:
        return
    function = function_of(model)
    inputs = _renamed(list(function.inputs), [tensor.name for tensor in card.inputs])
    outputs = _renamed(list(function.outputs), [tensor.name for tensor in card.outputs])
    x = {
        name: tf.constant(_numbers(card.reference["x"][inputs[name]]).reshape(-1, *spec.shape[1:]), spec.dtype)
        for name, spec in function.inputs.items()
    }
    for name, values in function.call(x).items():
        expected = _numbers(card.reference["tensors"][outputs[name]])
        actual = np.asarray(values, np.float64).reshape(-1)
        known = np.isfinite(expected)
        scale = np.abs(expected[known]).max(initial=0.0)
        if not (np.abs(actual - expected)[known] <= TOLERANCE * scale).all():
            raise ValueError(f"{name} is not the package's at its reference points")


def _renamed(own: list[str], names: list[str]) -> dict[str, str]:
    """Return the names in the package by the network's own; a lone tensor may have another."""
    if len(own) == len(names) == 1:
        return {own[0]: names[0]}
    if set(own) != set(names):
        raise ValueError(f"it was exported under other names, {', '.join(names)} for {', '.join(own)}")
    return {name: name for name in own}


def _numbers(text: str) -> np.ndarray:
    return np.array(text.split(), np.float64)
