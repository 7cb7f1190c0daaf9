"""A network of the energy of atoms, which feels neither where they lie, nor how they are turned or numbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

import keras
import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError, UsageError
from gradwire_training._data import Samples
from gradwire_training._models.dense_layers import check_activation, initializers, size_of, through
from gradwire_training._models.scaling import output_scales

SPACE: Final = 3  # coordinates of an atom
POWERS: Final = 16  # of the distances
EXPONENTS: Final = (0.2, 1.5)  # where the powers start, divided by the spread of log r: 1 to 7 for six argon atoms
ANGULAR: Final = 4  # radial functions of the descriptors of directions
WIDTHS: Final = (16,)  # of the network of an atom and its neighbours
ACTIVATION: Final = "swish"  # smooth at all orders
# Of what is no sum over pairs: it begins at zero and counts a tenth, so that pairs explain first what pairs can, and
# energies at distances shorter than any sample's follow from the pairs.
MANY_BODY: Final = 0.1
ROUNDING: Final = 1e-12  # of the mean: a smaller deviation is rounding
ALIKE: Final = "X"  # the species of atoms of which nothing else is known


def atoms(
    samples: Samples,
    *,
    species: Sequence[str] | None = None,
    powers: int = POWERS,
    widths: Sequence[int] = WIDTHS,
    activation: str = ACTIVATION,
    seed: int = 0,
) -> keras.Model:
    """Build an energy of atoms that depends on their distances and angles alone.

    It is invariant under translations, rotations, reflections, and permutations of atoms of one species. It is a sum
    over atoms, after Behler and Parrinello (Physical Review Letters 98, 2007), of powers of the distances and of a
    perceptron of each atom's neighbourhood:

        energy = c + s sum over i of (sum over j and k of a_k r_ij^-p_k  +  rho(D_i))

    The exponents p_k are learned, as the factors a_k are, for each pair of species. Sums of powers are dense in the
    continuous functions of a distance (Müntz), decay, and go on sensibly at distances shorter than any sample's. D_i
    describes the neighbourhood of atom i by the sums over j of each power and by the squares of such sums of functions
    g(r_ij), themselves sums of the powers, times the direction u_ij and times u_ij u_ij, which hold the angles between
    two neighbours: the contracted moments of Shapeev (Multiscale Modeling and Simulation 14, 2016), up to the second.
    So three atoms may have any smooth energy; of more atoms, energies whose dependence on directions is in the moments
    up to the second. A sum over pairs is learned as one.

    All of it is smooth at all orders wherever no two atoms coincide: nothing is sorted or cut off, every pair counts.
    So it suits clusters and molecules of a fixed number of atoms; it knows no periodic cell. It consists of plain
    Keras layers and operations, and a ``.keras`` file of it loads in safe mode.

    Args:
        samples: with one input ``(atoms, 3)`` and one scalar output. The mean and standard deviation of the output, c
            and s, and those of the logarithms of the distances are part of the model.
        species: the species of every atom, such as ``["O", "H", "H"]``, in the order of the samples; by default
            the samples' own, or all alike.
        powers: how many powers of the distances.
        widths: units of the hidden layers of rho.
        activation: Keras's name of their activation; with a kink the energy has no second derivative.
        seed: of the initial weights; the same seed gives the same weights.

    Returns:
        A float32 Keras model of the energy, whose derivative with respect to the positions is minus the forces. L-BFGS
        fits it best.

    Raises:
        DataError: the samples have other inputs or outputs, fewer than two atoms, or two atoms at one place.
        UsageError: not one species for each atom, a number of powers or a width below 1, or an unknown activation.
    """
    name, positions, energy = _columns(samples)
    count = positions.shape[1]
    kinds = _kinds(samples.species.get(name) if species is None else species, count)
    starts, hidden = initializers(seed), check_activation(activation)
    exponents: Any = keras.initializers.RandomUniform(*EXPONENTS, seed=next(starts).seed)
    by_power = keras.layers.Dense(size_of("powers", powers), "exponential", kernel_initializer=exponents)

    def dense(units: int, activation: str | None = None, *, use_bias: bool = True) -> Any:
        return keras.layers.Dense(units, activation, use_bias=use_bias, kernel_initializer=next(starts))

    x: Any = keras.Input((count, SPACE), name=name)
    pairs = _Pairs(count)
    moves = pairs.moves(x)
    squares = keras.ops.sum(keras.ops.square(moves), axis=-1, keepdims=True)
    features = _by_species(by_power(_closeness(positions)(keras.ops.log(squares))), pairs, kinds)
    neighbours = pairs.means(features)
    by_pairs = dense(1, use_bias=False)(neighbours)
    directions = moves * keras.ops.rsqrt(squares)
    described: Any = [neighbours, *_squared_moments(pairs, dense(ANGULAR, use_bias=False)(features), directions)]
    if len(set(kinds)) > 1:
        described.append(_one_hot(kinds, neighbours))
    described = keras.ops.concatenate(described, axis=-1)
    for width in widths:
        described = dense(size_of(f"width {width!r}", width), hidden)(described)
    many_body = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(described)
    total = keras.ops.sum(by_pairs + MANY_BODY * many_body, axis=1)
    return keras.Model(x, through(output_scales(samples)[energy].outward(energy), total))


@final
class _Pairs:
    """Every pair of atoms once: those that are 1, 2, ... places apart, the first after the last.

    Arrays of pairs are ``(..., atoms, places, ...)``: of each atom and the one that is so many places before it. Rolls
    take a tenth of the time of gathers, whose derivatives are scattered sums.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._places = range(1, count // 2 + 1)  # halfway round, an even number has each pair in both orders

    def moves(self, x: Any) -> Any:
        """Return the vectors from each atom to the others, ``(batch, atoms, places, 3)``, of ``(batch, atoms, 3)``."""
        return keras.ops.stack([keras.ops.roll(x, place, axis=1) - x for place in self._places], axis=2)

    def means(self, terms: Any, sign: int = 1) -> Any:
        """Return the means over the others, ``(batch, atoms, ...)``; the sign is that of a pair's other order."""
        total: Any = 0
        for index, place in enumerate(self._places):
            term = terms[:, :, index]
            total = total + term
            if 2 * place != self._count:
                total = total + sign * keras.ops.roll(term, -place, axis=1)
        return total / (self._count - 1)

    def of(self, kinds: Sequence[str]) -> list[list[tuple[str, ...]]]:
        """Return the species of the two atoms of each pair, in either order alike, ``[atom][place]``."""
        return [
            [tuple(sorted((kinds[atom], kinds[atom - place]))) for place in self._places] for atom in range(self._count)
        ]


def _squared_moments(pairs: _Pairs, radial: Any, directions: Any) -> list[Any]:
    """Return |sum of g u|^2 and |sum of g u u|^2 over the neighbours, for each radial function g."""
    first = keras.ops.expand_dims(radial, -1) * keras.ops.expand_dims(directions, -2)  # (..., functions, 3)
    second = keras.ops.expand_dims(first, -1) * keras.ops.expand_dims(keras.ops.expand_dims(directions, -2), -2)
    return [
        keras.ops.sum(keras.ops.square(pairs.means(first, sign=-1)), axis=-1),
        keras.ops.sum(keras.ops.square(pairs.means(second)), axis=(-2, -1)),
    ]


def _closeness(positions: NDArray[np.float64]) -> keras.Layer:
    """Return the layer from log r^2 to -log r, scaled to mean 0 and spread 1 over the samples."""
    logs = 0.5 * np.log(_squares(positions))
    centre, spread = logs.mean(), logs.std()
    spread = spread if spread > ROUNDING * max(1.0, abs(centre)) else 1.0
    return _affine(-0.5 / spread, centre / spread)


def _by_species(powers: Any, pairs: _Pairs, kinds: Sequence[str]) -> Any:
    """Return features of which each is zero but for pairs of two species, ``(..., powers x pairs of species)``."""
    names = sorted({pair for row in pairs.of(kinds) for pair in row})
    if len(names) == 1:
        return powers
    mask = np.array([[[pair == name for name in names] for pair in row] for row in pairs.of(kinds)])
    split = keras.ops.repeat(keras.ops.expand_dims(powers, -1), len(names), axis=-1)
    split = _affine(mask[:, :, None, :], 0.0)(split)
    return keras.layers.Reshape((*mask.shape[:2], -1))(split)


def _one_hot(kinds: Sequence[str], features: Any) -> Any:
    """Return the species of each atom, ``(batch, atoms, species)``, beside features that tell the batch."""
    names = sorted(set(kinds))
    constant = _affine(np.zeros(len(names)), [[kind == name for name in names] for kind in kinds])
    return constant(keras.ops.repeat(features[..., :1], len(names), axis=-1))


def _affine(scale: Any, offset: Any) -> keras.Layer:
    # Constants in a layer of Keras's own: a .keras file with one of ours could not be read without our code.
    arrays: list[Any] = [np.asarray(part, np.float32).astype(np.float64) for part in (scale, offset)]
    return keras.layers.Rescaling(*arrays)


def _squares(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared distances of all pairs, ``(rows, pairs)``."""
    first, second = np.triu_indices(positions.shape[1], 1)
    squares = ((positions[:, first] - positions[:, second]) ** 2).sum(axis=-1)
    if (squares == 0).any():
        row, pair = (int(index[0]) for index in np.nonzero(squares == 0))
        raise DataError(
            f"row {row}: the atoms {first[pair]} and {second[pair]} are at one place, where no direction leads from one "
            "to the other: leave the row out"
        )
    return squares


def _columns(samples: Samples) -> tuple[str, NDArray[np.float64], str]:
    """Return the names of input and output, and the positions."""
    inputs, outputs = ({name: column.shape[1:] for name, column in side.items()} for side in (samples.x, samples.y))
    is_atoms = [is_of_atoms(row) for row in inputs.values()]
    if is_atoms != [True] or list(outputs.values()) != [(1,)]:
        raise DataError(
            f"the samples have inputs of rows {inputs} and outputs {outputs}, a network of atoms takes one input of rows "
            "(atoms, 3), two atoms or more, and one scalar output: leave the others out, or take networks.mlp"
        )
    ((name, positions),), (energy,) = samples.x.items(), samples.y
    return name, positions, energy


def is_of_atoms(row: Sequence[int]) -> bool:
    """Return whether rows of a shape may be the positions of atoms, ``(atoms, 3)``.

    Args:
        row: the shape of a row.
    """
    return tuple(row[1:]) == (SPACE,) and row[0] > 1


def _kinds(species: Sequence[str] | None, count: int) -> list[str]:
    kinds = [ALIKE] * count if species is None else list(species)
    if len(kinds) != count:
        raise UsageError(f"{len(kinds)} species, and the input has {count} atoms: give one for each, in their order")
    return kinds
