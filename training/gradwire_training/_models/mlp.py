"""Plain Keras networks, ready to be fitted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import keras

from gradwire._errors import DataError, UsageError
from gradwire._package import check_names
from gradwire_training._data import Samples
from gradwire_training._models.dense_layers import check_activation, initializers, size_of, through
from gradwire_training._models.reduction import components
from gradwire_training._models.scaling import SCALED, Scale, input_scales, output_scales

Row: TypeAlias = "int | Sequence[int]"  # the shape of a row; an int n stands for (n,)
Rows: TypeAlias = "Mapping[str, tuple[int, ...]]"  # by name

WIDTHS: Final = (20, 20)  # the log problem's
ACTIVATION: Final = "sigmoid"  # smooth: a network of ReLUs has no second derivative


def mlp(
    *,
    inputs: Mapping[str, Row],
    outputs: Mapping[str, Row],
    widths: Sequence[int] = WIDTHS,
    activation: str = ACTIVATION,
    seed: int = 0,
    scale: Samples | None = None,
    reduce: str | int | None = None,
) -> keras.Model:
    """Build a multilayer perceptron with linear outputs.

    With one input and one output whose rows are vectors it is a ``keras.Sequential``; otherwise the inputs are
    flattened and concatenated, and every output has a linear layer of its own. Weights are initialised after Glorot
    and Bengio (AISTATS 2010, equation 16), biases with zero.

    Args:
        inputs: name -> row shape, in the model's order.
        outputs: name -> row shape, in the model's order.
        widths: units of the hidden layers.
        activation: Keras's name of the hidden layers' activation.
        seed: of the initial weights; the same seed gives the same weights.
        scale: samples with a column for every input and output; layers with their means and standard deviations
            are then part of the model, so that the inputs and outputs of the network inside have mean 0 and
            spread 1. By default there are none.
        reduce: how many differential principal components of the scaled inputs the hidden layers see (Huge and Savine,
            Axes that matter, Risk, 2021), or ``"auto"``: as many as carry 99.99 % of the mean square of every output's
            gradient. They are a layer of the model that is not trained, so that derivatives with respect to the inputs
            follow by the chain rule. By default the layers see the inputs. It needs ``scale``.

    Returns:
        A float32 Keras model whose inputs and outputs have these names.

    Raises:
        UsageError: names that a package cannot have, a shape or width below 1, an unknown activation, or ``reduce``
            without ``scale`` or out of range.
        DataError: the samples in ``scale`` have other columns, or lack the derivatives that ``reduce`` needs.
    """
    check_names(inputs, outputs)
    rows_in = {name: _row(f"input {name!r}", row) for name, row in inputs.items()}
    rows_out = {name: _row(f"output {name!r}", row) for name, row in outputs.items()}
    starts = initializers(seed)
    hidden = [
        keras.layers.Dense(
            size_of(f"width {width!r}", width), check_activation(activation), kernel_initializer=next(starts)
        )
        for width in widths
    ]
    scales = {} if scale is None else _scales(scale, rows_in, rows_out)
    heads = {
        name: keras.layers.Dense(
            math.prod(row),
            kernel_initializer=next(starts),
            name=name + SCALED if scales else name,
        )
        for name, row in rows_out.items()
    }
    if reduce is not None:
        if scale is None:
            raise UsageError(f"reduce {reduce!r} needs scale, samples with derivatives: give both, or leave it out")
        hidden = [components(scale, list(rows_in), reduce), *hidden]
    tensors = {name: keras.Input(row, name=name) for name, row in rows_in.items()}
    shapes = (*rows_in.values(), *rows_out.values())
    if len(rows_in) == len(rows_out) == 1 and all(len(shape) == 1 for shape in shapes):
        inward = [layer for name in rows_in if scales for layer in scales[name].inward(name)]
        outward = [layer for name in rows_out if scales for layer in scales[name].outward(name)]
        return keras.Sequential([*tensors.values(), *inward, *hidden, *heads.values(), *outward])
    return _functional(tensors, hidden, heads, rows_out, scales)


def _scales(samples: Samples, inputs: Rows, outputs: Rows) -> dict[str, Scale]:
    for role, table, rows in (("x", samples.x, inputs), ("y", samples.y, outputs)):
        shapes = {name: column.shape[1:] for name, column in table.items()}
        if shapes != dict(rows):
            raise DataError(f"scale has {role} {shapes}, the network {dict(rows)}: give samples of its columns")
    return input_scales(samples) | output_scales(samples)


def _functional(
    tensors: Mapping[str, Any],
    hidden: Sequence[keras.Layer],
    heads: Mapping[str, keras.Layer],
    rows_out: Rows,
    scales: Mapping[str, Scale],
) -> keras.Model:
    scaled = list(tensors.values())
    if scales:
        scaled = [through(scales[name].inward(name), tensor) for name, tensor in tensors.items()]
    flat = [keras.layers.Flatten()(tensor) for tensor in scaled]
    trunk = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    for layer in hidden:
        trunk = layer(trunk)
    outputs = {name: keras.layers.Reshape(row)(heads[name](trunk)) for name, row in rows_out.items()}
    if scales:
        outputs = {name: through(scales[name].outward(name), output) for name, output in outputs.items()}
    return keras.Model(dict(tensors), outputs)


def _row(label: str, row: Row) -> tuple[int, ...]:
    return tuple(size_of(label, size) for size in ((row,) if isinstance(row, int) else row))
