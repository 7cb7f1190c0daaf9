"""Keras models that do not say what they take: subclasses, and models of reduced precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import keras
import tensorflow as tf

from gradwire._errors import ConversionError, UsageError

REDUCED: Final = ("float16", "bfloat16")


def has_symbolic_inputs(model: Any) -> bool:
    """Whether a model is a Keras model that knows its inputs: a Functional one, or a Sequential one that was built."""
    return isinstance(model, keras.Model) and bool(getattr(model, "inputs", None))


def require_full_precision(model: keras.Model) -> None:
    """Raise a ConversionError where a layer computes in 16 bits, whose derivatives have two or three digits."""
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001 - there is no public way to nested layers
        if layer.compute_dtype in REDUCED and not isinstance(layer, keras.layers.InputLayer):
            raise ConversionError(
                f"layer {layer.name!r} computes in {layer.compute_dtype} (policy {layer.dtype_policy.name}), where a "
                "derivative has two or three digits: build the model under keras.config.set_dtype_policy('float32') and "
                "give it these weights, new.set_weights(old.get_weights()); they are exact in float32"
            )


def inputs_of_subclass(model: keras.Model) -> Any:
    """Return the inputs of a subclassed model as a Functional one has them, from the call that built it.

    A UsageError where it was not called yet, or where its inputs have no names.
    """
    shapes = _call_shapes(model)
    dtype = model.input_dtype or keras.config.floatx()
    if isinstance(shapes, Mapping):
        return {name: keras.KerasTensor((None, *shape[1:]), dtype, name=name) for name, shape in shapes.items()}
    if _is_shape(shapes):
        return keras.KerasTensor((None, *shapes[1:]), dtype)
    raise UsageError(
        f"the model {model.name!r} does not know its inputs: call it once, model(x), or give their names and shapes, "
        'such as inputs={"x": tf.TensorSpec((None, 1), tf.float32)}'
    )


def call_subclass(model: keras.Model, names: Sequence[str], tensors: Sequence[tf.Tensor]) -> Any:
    """Call a subclassed model as it was called when it was built: with a dict, a list, or one argument each."""
    shapes = _call_shapes(model)
    if isinstance(shapes, Mapping):
        return model(dict(zip(names, tensors, strict=True)), training=False)
    if shapes and not _is_shape(shapes):
        return model(list(tensors), training=False)
    return model(*tensors, training=False)


def _call_shapes(model: keras.Model) -> Any:
    return (model.get_build_config() or {}).get("input_shape")


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, (list, tuple)) and bool(shape) and all(size is None or type(size) is int for size in shape)
