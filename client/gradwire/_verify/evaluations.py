"""Every signature's outputs at the points, with one set of tangents and cotangents for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from gradwire._numerics import Measured, flat_rows, hessian_product, signed_eighths
from gradwire._package import (
    BY_NAME,
    DIFFERENTIABLE,
    SERVING_DEFAULT,
    SIGNATURES,
    Card,
    Part,
    cotangent_name,
    tangent_name,
)
from gradwire._verify.probe import Derivative, Probe

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class SignatureEvaluations:
    """The signatures at the points."""

    probe: Probe
    by_signature: Mapping[str, Measured]  # the outputs of every signature that the model has, and their rounding
    u: Mapping[str, Floats]  # cotangents, ``(points, elements)`` by output, scaled to 1 / |Jv|: none drowns another

    @property
    def default(self) -> Measured:
        """The outputs of `serving_default`."""
        return self.by_signature[SERVING_DEFAULT]

    def v(self, name: str) -> Floats:
        """Return an input's tangent, ``(points, elements)``."""
        return flat_rows(self.probe.v[name])

    def jacobian(self, derivative: Derivative) -> Floats:
        """Return a first derivative of `serving_default`, ``(points, output elements, input elements)``."""
        return derivative.blocks(self.default.values[derivative.tensor])

    def jacobian_noise(self, derivative: Derivative) -> Floats:
        """Return its rounding, of the same shape."""
        return derivative.blocks(self.default.noise[derivative.tensor])

    def second_order(self) -> Iterator[str]:
        """Iterate over the signatures that compute second derivatives or products with them."""
        return (name for name in self.by_signature if SIGNATURES[name].order == 2)  # noqa: PLR2004 - d²f

    def hessian_times_v(self, signature: str) -> dict[str, Floats]:
        """Return the Hessian times v by first derivative, from a product that a signature computes or as a sum."""
        values = self.by_signature[signature].values
        if Part.DERIVATIVE_TANGENTS in SIGNATURES[signature].gives:
            return {each.tensor: values[tangent_name(each.tensor)] for each in self.probe.derivatives()}
        v = {name: self.v(name) for name in self.probe.v}
        return {each.tensor: contract(self.probe.card, each, values, v) for each in self.probe.derivatives()}


def contract(card: Card, derivative: Derivative, blocks: Mapping[str, Floats], v: Mapping[str, Floats]) -> Floats:
    """Sum an output's second derivatives with respect to an input and any other, times that other's vector.

    The card holds each pair of inputs once. The result has the shape of the first derivative, flattened.
    """
    names = card.second_derivatives.get(derivative.output.name, {})
    size = max(1, int(np.prod(derivative.output.shape)))
    return hessian_product(names, derivative.input.name, size, blocks, v)


def evaluate_signatures(probe: Probe) -> SignatureEvaluations:
    """Run every signature at the points."""
    default = probe.measure(SERVING_DEFAULT)
    u = _cotangents(probe, default)
    vectors: Mapping[Part | None, Mapping[str, NDArray[np.generic]]] = {
        Part.TANGENTS: {tangent_name(name): v.astype(probe.x[name].dtype) for name, v in probe.v.items()},
        Part.COTANGENTS: {
            cotangent_name(tensor.name): u[tensor.name].reshape(-1, *tensor.shape).astype(BY_NAME[tensor.dtype].numpy)
            for tensor in probe.card.outputs
        },
        None: {},
    }
    others = {
        kind.name: probe.measure(kind.name, vectors[kind.direction])
        for kind in DIFFERENTIABLE
        if kind.name != SERVING_DEFAULT and probe.has(kind.name)
    }
    return SignatureEvaluations(probe, {SERVING_DEFAULT: default, **others}, u)


def _cotangents(probe: Probe, default: Measured) -> dict[str, Floats]:
    change: dict[str, Floats] = {}
    for each in probe.derivatives():
        df = np.abs(each.blocks(default.values[each.tensor]))
        along = np.einsum("pmn,pn->pm", df, np.abs(flat_rows(probe.v[each.input.name])))
        change[each.output.name] = change.get(each.output.name, np.zeros_like(along)) + along
    u: dict[str, Floats] = {}
    for tensor in probe.card.outputs:
        shape = default.values[tensor.name].shape
        u[tensor.name] = signed_eighths(shape, probe.rng) * _one_over(change.get(tensor.name, np.ones(shape)))
    return u


def _one_over(change: Floats) -> Floats:
    """A power of two near one over the typical magnitude of each element, ``(elements,)``."""
    finite = np.where(np.isfinite(change), change, 0.0)
    typical = np.median(finite, axis=0)
    usable = (typical > 0) & np.isfinite(typical)
    return np.power(2.0, -np.round(np.log2(np.where(usable, typical, 1.0))))
