"""A network of atoms that sees nothing but the distances between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np

from gradwire_training._data import Samples
from gradwire_training._models import output_scales

PAIR_WIDTHS: Final = (16, 16)  # of the network of a pair
ATOM_WIDTHS: Final = (16,)  # of the network of an atom and its neighbours
ACTIVATION: Final = "tanh"


def atoms_network(
    samples: Samples,
    *,
    pair_widths: Sequence[int] = PAIR_WIDTHS,
    atom_widths: Sequence[int] = ATOM_WIDTHS,
    seed: int = 0,
) -> keras.Model:
    """Build an energy of atoms of one kind: a sum over atoms of a function of the distances to all the others.

        energy = c + s sum over atoms i of rho(sum over atoms j other than i of phi(1 / |x_i - x_j|))

    phi and rho are perceptrons, the same for all pairs and atoms, c and s the mean and standard deviation of the
    samples' energy. It is therefore invariant under translations, rotations, reflections and permutations of the atoms
    (after Behler and Parrinello, Phys. Rev. Lett. 98, 2007, with learned descriptors in the form of Zaheer et al., Deep
    Sets, arXiv 1703.06114). It consists of plain Keras layers and operations, so that a ``.keras`` file of it loads in
    safe mode.

    Args:
        samples: with the input ``positions``, rows of ``(atoms, 3)``, and the output ``energy``.
        pair_widths: units of phi's layers.
        atom_widths: units of rho's hidden layers.
        seed: of the initial weights.

    Returns:
        A float32 Keras model.
    """
    atoms = samples.x["positions"].shape[1]
    positions: Any = keras.Input((atoms, 3), name="positions")
    hidden = [*pair_widths, *atom_widths]
    seeds = np.random.SeedSequence(seed).generate_state(len(hidden) + 1)
    layers = [_dense(width, int(start)) for width, start in zip(hidden, seeds, strict=False)]
    # For every atom the others, one after another: the rows of atoms are rolled by 1, 2, ... places.
    moves = [keras.ops.roll(positions, shift, axis=1) - positions for shift in range(1, atoms)]
    squares = keras.ops.sum(keras.ops.square(keras.ops.stack(moves, axis=2)), axis=-1, keepdims=True)
    features: Any = keras.ops.rsqrt(squares)  # (batch, atoms, others, 1)
    for layer in layers[: len(pair_widths)]:
        features = layer(features)
    features = keras.ops.sum(features, axis=2)
    for layer in layers[len(pair_widths) :]:
        features = layer(features)
    parts = keras.layers.Dense(1, use_bias=False, kernel_initializer=_glorot(int(seeds[-1])))(features)
    scale = output_scales(samples)["energy"]
    return keras.Model(positions, scale.outward("energy")(keras.ops.sum(parts, axis=1)))


def _dense(width: int, seed: int) -> keras.layers.Dense:
    return keras.layers.Dense(width, ACTIVATION, kernel_initializer=_glorot(seed))


def _glorot(seed: int) -> Any:  # Keras annotates what takes it as text
    return keras.initializers.GlorotUniform(seed=seed)
