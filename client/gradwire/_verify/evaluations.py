"""What every signature gives at the points, with one set of tangents and cotangents for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from gradwire._numerics import flat_rows, signed_eighths
from gradwire._package import BY_NAME, HESSIAN, HVP, JVP, SERVING_DEFAULT, VJP, cotangent_name, tangent_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gradwire._numerics import Measured
    from gradwire._verify.probe import Pair, Subject

    Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Answers:
    """The signatures at the points.

    Attributes:
        subject: whose answers they are.
        default: of `serving_default`.
        others: of `jvp`, `vjp`, `hvp` and `hessian`, those that the model has.
        u: cotangents, ``(points, numbers)`` by output, each scaled to 1 / |Jv|: none drowns another.
    """

    subject: Subject
    default: Measured
    others: Mapping[str, Measured]
    u: Mapping[str, Floats]

    def v(self, name: str) -> Floats:
        """An input's tangent, ``(points, numbers)``."""
        return flat_rows(self.subject.v[name])

    def jacobian(self, pair: Pair) -> Floats:
        """A first derivative of `serving_default`, ``(points, of the output, of the input)``."""
        return matrix(self.default.values[pair.tensor], pair)

    def jacobian_noise(self, pair: Pair) -> Floats:
        """Its rounding, of the same shape."""
        return matrix(self.default.noise[pair.tensor], pair)


def answers_of(subject: Subject) -> Answers:
    """Runs every signature at the points."""
    default = subject.measure(SERVING_DEFAULT)
    u = _cotangents(subject, default)
    others: dict[str, Measured] = {}
    tangents = {tangent_name(name): _cast(subject, name, v) for name, v in subject.v.items()}
    cotangents = {
        cotangent_name(tensor.name): u[tensor.name].reshape(-1, *tensor.shape).astype(BY_NAME[tensor.dtype].numpy)
        for tensor in subject.card.outputs
    }
    given = {JVP: tangents, VJP: cotangents, HVP: tangents, HESSIAN: {}}
    for signature, further in given.items():
        if subject.has(signature):
            others[signature] = subject.measure(signature, further)
    return Answers(subject, default, others, u)


def matrix(values: Floats, pair: Pair) -> Floats:
    """Gives a first derivative's numbers as ``(points, of the output, of the input)``."""
    return values.reshape(len(values), max(1, int(np.prod(pair.output.shape))), -1)


def _cotangents(subject: Subject, default: Measured) -> dict[str, Floats]:
    change: dict[str, Floats] = {}
    for pair in subject.pairs():
        df = matrix(default.values[pair.tensor], pair)
        along = np.einsum("pmn,pn->pm", np.abs(df), np.abs(flat_rows(subject.v[pair.input.name])))
        change[pair.output.name] = change.get(pair.output.name, np.zeros_like(along)) + along
    u: dict[str, Floats] = {}
    for tensor in subject.card.outputs:
        shape = default.values[tensor.name].shape
        u[tensor.name] = signed_eighths(shape, subject.rng) * _one_over(change.get(tensor.name, np.ones(shape)))
    return u


def _one_over(change: Floats) -> Floats:
    """A power of two near one over the typical magnitude of each number, ``(numbers,)``."""
    finite = np.where(np.isfinite(change), change, 0.0)
    typical = np.median(finite, axis=0)
    usable = (typical > 0) & np.isfinite(typical)
    return np.power(2.0, -np.round(np.log2(np.where(usable, typical, 1.0))))


def _cast(subject: Subject, name: str, v: Floats) -> NDArray[np.generic]:
    return v.astype(subject.x[name].dtype)
