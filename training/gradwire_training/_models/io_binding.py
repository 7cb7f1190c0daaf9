"""The named inputs and outputs of a Keras model, whatever the structure of its arguments and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import keras

from gradwire._errors import DataError, UsageError
from gradwire._package import STRING
from gradwire_training._data import Samples, Table

Row: TypeAlias = "tuple[int, ...]"


@final
@dataclass(frozen=True, slots=True)
class BoundTensor:
    """One input or output of a model, bound to a column of samples."""

    name: str  # in the samples
    key: str  # in the model
    shape: Row  # of a row, as the samples fill it
    dtype: str  # Keras's name of it

    @property
    def is_floating(self) -> bool:
        """Whether it has real elements, so that it has a derivative and follows the precision."""
        return "float" in self.dtype


@final
@dataclass(frozen=True, slots=True)
class IoBinding:
    """How the names and shapes of samples and of a model match.

    A model's names are the keys of its dicts of inputs and outputs; else those of its input tensors, and of the layers
    that make its outputs. A single input, or output, has the samples' name whatever the model calls it.
    """

    inputs: tuple[BoundTensor, ...]  # in the order in which the model was given them, a list or a dict; as all else
    outputs: tuple[BoundTensor, ...]

    @classmethod
    def of(cls, model: keras.Model, samples: Samples) -> IoBinding:
        """Match samples to a Functional or Sequential model that is built."""
        inputs, outputs = _structures(model)
        layers = [model.layers[-1].name] if isinstance(model, keras.Sequential) else model.output_names
        return cls(
            inputs=_match("x", samples.x, _by_key(inputs, [tensor.name for tensor in _flat(inputs)])),
            outputs=_match("y", samples.y, _by_key(outputs, layers)),
        )

    def call(self, model: keras.Model, x: Mapping[str, Any], *, training: bool) -> dict[str, Any]:
        """Call the matched model, or a copy of it, on tensors ``(batch, *row shape)`` by the samples' names."""
        structure, _ = _structures(model)
        inputs = _like(structure, {tensor.key: x[tensor.name] for tensor in self.inputs})
        outputs = _by_key(model(inputs, training=training), [tensor.key for tensor in self.outputs])
        return {tensor.name: outputs[tensor.key] for tensor in self.outputs}


def ordered_tensors(model: keras.Model) -> tuple[list[Any], list[Any]]:
    """Return a model's symbolic inputs and outputs in the order of its binding.

    ``model.inputs`` and ``model.outputs`` are another order for dicts, whose keys Keras sorts there.
    """
    inputs, outputs = _structures(model)
    return _flat(inputs), _flat(outputs)


def _structures(model: keras.Model) -> tuple[Any, Any]:
    """Return the model's inputs and outputs: symbolic tensors in dicts, lists, or alone."""
    sequential = isinstance(model, keras.Sequential)
    try:
        return (model.inputs[0], model.outputs[0]) if sequential else (model.input, model.output)
    except (AttributeError, TypeError) as error:  # Keras has no public name for a Functional model's class
        raise UsageError(
            f"the model {model.name!r} does not tell its inputs: make it a built Functional or Sequential model, "
            "as in keras.Model(inputs, model(inputs)) or with keras.Input first"
        ) from error


def _flat(structure: Any) -> list[Any]:
    match structure:
        case Mapping():
            return list(structure.values())
        case list() | tuple():
            return list(structure)
        case _:
            return [structure]


def _by_key(structure: Any, names: list[str]) -> dict[str, Any]:
    if isinstance(structure, Mapping):
        return dict(structure)
    return dict(zip(names, _flat(structure), strict=True))


def _like(structure: Any, by_key: dict[str, Any]) -> Any:
    match structure:
        case Mapping():
            return by_key
        case list() | tuple():
            return list(by_key.values())
        case _:
            (alone,) = by_key.values()
            return alone


def _match(role: str, columns: Table, tensors: Mapping[str, Any]) -> tuple[BoundTensor, ...]:
    names = dict(zip(tensors, columns, strict=True)) if len(tensors) == len(columns) == 1 else {n: n for n in tensors}
    if set(names.values()) != set(columns):
        extra, missing = sorted(set(columns) - set(tensors)), sorted(set(tensors) - set(columns))
        raise DataError(f"{role} does not match the model: sent extra: {extra}; missing but required: {missing}")
    return tuple(_bound(role, name, columns[name].shape[1:], key, tensors[key]) for key, name in names.items())


def _bound(role: str, name: str, columns: Row, key: str, tensor: Any) -> BoundTensor:
    expected: tuple[int | None, ...] = tuple(tensor.shape[1:])
    shape = () if expected == () and columns == (1,) else columns  # samples store (rows,) as (rows, 1)
    if len(shape) != len(expected) or any(e not in (None, size) for e, size in zip(expected, shape, strict=True)):
        rows = ", ".join(["rows", *("any" if size is None else str(size) for size in expected)])
        raise DataError(f"{role} {name!r} has rows of shape {columns}, the model's {key!r} takes ({rows})")
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == STRING:
        raise UsageError(
            f"{role} {key!r} of the model is string, and a fit takes numbers: fit the model behind the lookup, to which its "
            "integers are an input (docs/sources.md)"
        )
    return BoundTensor(name=name, key=key, shape=shape, dtype=dtype)
