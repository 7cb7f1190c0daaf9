"""Copies of a Keras model that compute in another precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from gradwire._errors import UsageError
from gradwire_training._models.layers import layers_of

DTYPES: Final = ("float32", "float64")  # what fits compute in, and packages too
FLOATS: Final = frozenset({"bfloat16", "float16", "float32", "float64", "mixed_bfloat16", "mixed_float16"})


def array_of(variable: Any) -> NDArray[Any]:
    """Return a copy of a variable's value.

    Not ``np.array(variable)``: where a Ctrl-C comes within NumPy's fallback for the old ``__array__`` of Keras, that
    raises TypeError in its place.
    """
    return np.array(keras.ops.convert_to_numpy(variable))


def with_dtype(model: keras.Model, dtype: str) -> keras.Model:
    """Build a copy of a model that computes in another precision, with the same weights.

    The model is built again from its own configuration, in which every floating dtype is replaced; integer inputs
    remain.

    Args:
        model: a Functional or Sequential Keras model, built.
        dtype: ``"float32"`` or ``"float64"``.

    Returns:
        A model that shares nothing with the original.

    Raises:
        UsageError: another dtype, a model that cannot be built from its configuration, or one whose layers
            keep weights in a precision of their own.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype {dtype!r}, expected one of {', '.join(DTYPES)}")
    with _default_dtype(dtype):
        copy = _rebuilt(model, dtype)
    _require_as_many(model, copy)
    for source, target in zip(model.weights, copy.weights, strict=True):
        if target.dtype in FLOATS and target.dtype != dtype:
            raise UsageError(
                f"the weight {target.path!r} stays {target.dtype} where {dtype} was requested: "
                "let its layer pass dtype on to the layers inside it"
            )
        target.assign(keras.ops.cast(source, target.dtype))
    for layer in layers_of(copy):
        if layer.compute_dtype in FLOATS and layer.compute_dtype != dtype:
            raise UsageError(
                f"the layer {layer.name!r} computes in {layer.compute_dtype} where {dtype} was requested: let it take "
                "dtype and pass it on to the layers inside it"
            )
    return copy


def replaced_policies(model: keras.Model, dtype: str) -> list[str]:
    """Return a line that names the mixed precisions of a model, which a copy in ``dtype`` does not have; or nothing."""
    policies = {layer.dtype_policy.name for layer in layers_of(model)} - {*DTYPES}
    if not policies:
        return []
    return [f"the model's precision {', '.join(sorted(policies))} is replaced: fitted and exported in {dtype}"]


def _require_as_many(model: keras.Model, copy: keras.Model) -> None:
    if len(model.weights) != len(copy.weights):
        raise UsageError(
            f"the model {model.name!r} has {len(model.weights)} weights, and {len(copy.weights)} when it is built from "
            "its configuration: a layer that is shared between models, or weights that are, come out as several; "
            "share layers within one model"
        )


def _rebuilt(model: keras.Model, dtype: str) -> keras.Model:
    try:
        return type(model).from_config(_recast(model.get_config(), dtype))
    except (NotImplementedError, TypeError, ValueError) as error:
        raise UsageError(
            f"the model {model.name!r} cannot be built from its configuration ({error}): register its custom "
            "layers with keras.saving.register_keras_serializable and give them get_config"
        ) from error


def _recast(config: Any, dtype: str) -> Any:
    match config:
        case {"class_name": "DTypePolicy", **rest}:
            return {**rest, "class_name": "DTypePolicy", "config": {"name": dtype}}
        case dict():
            return {
                key: dtype if key == "dtype" and isinstance(value, str) and value in FLOATS else _recast(value, dtype)
                for key, value in config.items()
            }
        case list() | tuple():
            return type(config)(_recast(value, dtype) for value in config)
        case _:
            return config


@contextmanager
def _default_dtype(dtype: str) -> Iterator[None]:
    """Let layers that custom layers create without a dtype compute in it, too."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
