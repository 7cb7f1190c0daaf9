"""The named inputs and outputs of a Keras model, whatever structure it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

import keras

from gradwire._errors import DataError, UsageError

if TYPE_CHECKING:
    from gradwire_training._data import Samples

Row: TypeAlias = "tuple[int, ...]"


@final
@dataclass(frozen=True, slots=True)
class BoundTensor:
    """One input or output.

    Attributes:
        name: the name that the samples give it.
        key: the name that the model gives it.
        shape: row shape, as the samples fill it.
        dtype: Keras's name of the dtype.
    """

    name: str
    key: str
    shape: Row
    dtype: str

    @property
    def is_floating(self) -> bool:
        """Whether it holds real numbers, so that it has a derivative and follows the precision."""
        return "float" in self.dtype


@final
@dataclass(frozen=True, slots=True)
class IoBinding:
    """How samples and a model fit together.

    A model's names are the keys of the dicts that it takes and gives; else those of its input tensors, and of
    the layers that give its outputs. A single input, or output, goes by the samples' name whatever the model
    calls it.

    Attributes:
        inputs: in the order of the model's ``inputs``, which for a dict is that of its sorted keys.
        outputs: likewise.
    """

    inputs: tuple[BoundTensor, ...]
    outputs: tuple[BoundTensor, ...]

    @classmethod
    def of(cls, model: keras.Model, samples: Samples) -> IoBinding:
        """Matches samples to a model.

        Args:
            model: Functional or Sequential, built.
            samples: with a column for every input and output.

        Raises:
            UsageError: another kind of model.
            DataError: names or row shapes that do not match.
        """
        taken, given = _tensors(model)
        return cls(
            inputs=_match("x", {name: column.shape[1:] for name, column in samples.x.items()}, taken),
            outputs=_match("y", {name: column.shape[1:] for name, column in samples.y.items()}, given),
        )

    def call(self, model: keras.Model, x: Mapping[str, Any], *, training: bool) -> dict[str, Any]:
        """Calls the model, or a copy of it, by the samples' names.

        Args:
            model: the model that was matched, in any precision.
            x: name -> tensor ``(batch, *row shape)``.
            training: whether layers such as dropout are at work.

        Returns:
            name -> tensor ``(batch, *row shape)``.
        """
        structure, _ = _structures(model)
        by_key = {port.key: x[port.name] for port in self.inputs}
        given = model(_like(structure, by_key), training=training)
        outputs = _by_key(given, [port.key for port in self.outputs])
        return {port.name: outputs[port.key] for port in self.outputs}


def _structures(model: keras.Model) -> tuple[Any, Any]:
    """What the model takes and gives: symbolic tensors in dicts, lists, or alone."""
    sequential = isinstance(model, keras.Sequential)
    try:
        return (model.inputs[0], model.outputs[0]) if sequential else (model.input, model.output)
    except (AttributeError, TypeError) as error:  # Keras has no public name for a Functional model's class
        raise UsageError(
            f"the model {model.name!r} does not tell its inputs: make it a built Functional or Sequential model, "
            "as in keras.Model(inputs, model(inputs)) or with keras.Input first"
        ) from error


def _tensors(model: keras.Model) -> tuple[dict[str, Any], dict[str, Any]]:
    taken, given = _structures(model)
    inputs = _by_key(taken, [tensor.name for tensor in _flat(taken)])
    layers = [model.layers[-1].name] if isinstance(model, keras.Sequential) else model.output_names
    return inputs, _by_key(given, layers)


def _flat(structure: Any) -> list[Any]:
    return list(structure) if isinstance(structure, list | tuple) else keras.tree.flatten(structure)


def _by_key(structure: Any, names: list[str]) -> dict[str, Any]:
    if isinstance(structure, Mapping):
        return {key: structure[key] for key in keras.tree.flatten({key: key for key in structure})}
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


def _match(role: str, columns: Mapping[str, Row], tensors: Mapping[str, Any]) -> tuple[BoundTensor, ...]:
    names = dict(zip(tensors, columns, strict=True)) if len(tensors) == len(columns) == 1 else {n: n for n in tensors}
    if set(names.values()) != set(columns):
        extra, missing = sorted(set(columns) - set(tensors)), sorted(set(tensors) - set(columns))
        raise DataError(f"{role} does not match the model: sent extra: {extra}; missing but required: {missing}")
    return tuple(_port(role, name, columns[name], key, tensors[key]) for key, name in names.items())


def _port(role: str, name: str, columns: Row, key: str, tensor: Any) -> BoundTensor:
    wanted: tuple[int | None, ...] = tuple(tensor.shape[1:])
    shape = () if wanted == () and columns == (1,) else columns  # samples keep (rows,) as (rows, 1)
    if len(shape) != len(wanted) or any(size not in (None, given) for size, given in zip(wanted, shape, strict=True)):
        rows = ", ".join(["rows", *("any" if size is None else str(size) for size in wanted)])
        raise DataError(f"{role} {name!r} has rows of shape {columns}, the model's {key!r} takes ({rows})")
    return BoundTensor(name=name, key=key, shape=shape, dtype=keras.backend.standardize_dtype(tensor.dtype))
