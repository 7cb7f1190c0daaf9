"""The outputs that every signature of a package must have, computed from the model itself in another way.

The package repeats rows and sweeps once; here a plain tape runs eagerly for each output element, products with the
Jacobian are sums over its elements, and a Hessian is judged by its product with the tangents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any, Final, final

import numpy as np
import tensorflow as tf

from gradwire._package import SIGNATURES, Part, cotangent_name, derivative_shape, std_name, tangent_name
from gradwire_export._checks.fresh_process import Arrays
from gradwire_export._derivatives import Tensors
from gradwire_export._package import PackageSpec


@final
class EagerReference:
    """What each signature of a package must return, on the CPU, of rows ``(rows, *row)`` by name."""

    def __init__(self, spec: PackageSpec, rows: Arrays) -> None:
        self._spec = spec
        self._function = spec.function
        self._rows = rows
        self._x = {name: tf.constant(rows[name]) for name in self._function.inputs}
        self.n_rows = len(next(iter(rows.values())))

    def outputs(self, signature: str) -> Arrays:
        """Return a signature's outputs by name, with ``<derivative>_dot`` in place of second derivatives."""
        return {name: array for part in SIGNATURES[signature].gives for name, array in _PARTS[part](self).items()}

    def comparable(self, signature: str, outputs: Arrays) -> Arrays:
        """Return outputs of the package as ``outputs`` has them: second derivatives multiplied with the tangents."""
        if Part.SECOND_DERIVATIVES not in SIGNATURES[signature].gives:
            return outputs
        names = {name for of in self._spec.second_derivatives.values() for by in of.values() for name in by.values()}
        if not names <= outputs.keys():
            return outputs
        others = {name: array for name, array in outputs.items() if name not in names}
        return others | self._hessian_products(outputs)

    @cached_property
    def values(self) -> Arrays:
        """The outputs."""
        with tf.device("CPU:0"):  # as the fresh process: a GPU may round products to TF32
            return {name: tensor.numpy() for name, tensor in self._function.call(self._x).items()}

    @cached_property
    def derivatives(self) -> Arrays:
        """The first derivatives."""
        return self._by_element(self._differentiate)

    @cached_property
    def aliases(self) -> Arrays:
        """The first derivatives that are served under names of their own."""
        names, dtypes = self._spec.derivatives, self._function.outputs
        return {
            name: (self.derivatives[names[alias.output][alias.input]] * alias.factor).astype(
                dtypes[alias.output].dtype.as_numpy_dtype
            )
            for name, alias in self._spec.aliases.items()
        }

    @cached_property
    def derivative_tangents(self) -> Arrays:
        """The first derivatives' derivatives along the tangents."""
        along = self._by_element(self._differentiate_along)
        return {tangent_name(name): array for name, array in along.items()}

    @cached_property
    def output_tangents(self) -> Arrays:
        """The outputs' derivatives along the tangents: the Jacobian times the tangents."""
        products: Arrays = {}
        for output, by_input in self._spec.derivatives.items():
            total = sum(
                np.einsum("bkj,bj->bk", self._jacobian(output, wrt), self._flat_row(tangent_name(wrt)))
                for wrt in by_input
            )
            shaped = np.asarray(total).reshape(-1, *self._spec.output_shape(output))
            products[tangent_name(output)] = shaped.astype(self._dtype(output))
        return products

    @cached_property
    def input_cotangents(self) -> Arrays:
        """The cotangents times the Jacobian."""
        products: Arrays = {}
        for wrt in self._function.wrt:
            total = sum(
                np.einsum("bkj,bk->bj", self._jacobian(output, wrt), self._flat_row(cotangent_name(output)))
                for output in self._spec.derivatives
            )
            dtype = self._function.inputs[wrt].dtype.as_numpy_dtype
            shaped = np.asarray(total).reshape(-1, *self._spec.input_shape(wrt))
            products[cotangent_name(wrt)] = shaped.astype(dtype)
        return products

    @cached_property
    def stds(self) -> Arrays:
        """The standard deviations of outputs and derivatives."""
        if self._spec.stds is None:
            return {}
        with tf.device("CPU:0"):
            return {name: tensor.numpy() for name, tensor in self._spec.stds.call(self._x).items()}

    @property
    def derivative_stds(self) -> Arrays:
        """The standard deviations of the first derivatives, zero where those are declared to be."""
        pairs = ((output, wrt) for output, by_input in self._spec.derivatives.items() for wrt in by_input)
        names = {pair: std_name(self._spec.derivatives[pair[0]][pair[1]]) for pair in pairs}
        return {name: self.stds[name] * (0 if pair in self._spec.zeros else 1) for pair, name in names.items()}

    @property
    def output_stds(self) -> Arrays:
        """The standard deviations of the outputs."""
        return {std_name(output): self.stds[std_name(output)] for output in self._function.outputs}

    def _differentiate(self, output: str, element: Sequence[int]) -> Tensors:
        """Differentiate one element of an output with respect to all inputs."""
        watched = {wrt: self._x[wrt] for wrt in self._function.wrt}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            scalar = self._function.call(self._x)[output][(slice(None), *element)]
        return tape.gradient(scalar, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def _differentiate_along(self, output: str, element: Sequence[int]) -> Tensors:
        """Differentiate the gradient of one element of an output along the tangents, one tape over another."""
        watched = {wrt: self._x[wrt] for wrt in self._function.wrt}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            first = self._differentiate(output, element)
            along = tf.add_n([tf.reduce_sum(first[wrt] * self._rows[tangent_name(wrt)]) for wrt in watched])
        return tape.gradient(along, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def _by_element(self, differentiate: Callable[[str, Sequence[int]], Tensors]) -> Arrays:
        """Stack the gradients of the output elements into the contract's shapes."""
        arrays: Arrays = {}
        for output, by_input in self._spec.derivatives.items():
            row = self._spec.output_shape(output)
            with tf.device("CPU:0"):
                parts = [differentiate(output, element) for element in np.ndindex(*row)]
            for wrt, name in by_input.items():
                stacked = np.stack([np.asarray(tf.convert_to_tensor(part[wrt])) for part in parts], axis=1)
                shape = (-1, *derivative_shape(row, self._spec.input_shape(wrt)))
                arrays[name] = stacked.reshape(shape) * (0 if (output, wrt) in self._spec.zeros else 1)
        return arrays

    def _hessian_products(self, hessians: Mapping[str, np.ndarray]) -> Arrays:
        """Multiply second derivatives by name, each pair of inputs once, with the tangents."""
        spec, products = self._spec, Arrays()
        for output, pairs in spec.second_derivatives.items():
            size = prod(spec.output_shape(output))
            for one in self._function.wrt:
                total = 0.0
                for other in self._function.wrt:
                    swapped = other not in pairs[one]
                    outer, inner = (other, one) if swapped else (one, other)
                    hessian = hessians[pairs[outer][inner]].astype(np.float64)
                    sizes = (prod(spec.input_shape(outer)), prod(spec.input_shape(inner)))
                    hessian = hessian.reshape(len(hessian), size, *sizes)
                    tangent = self._flat_row(tangent_name(other))
                    total = total + np.einsum("bkji,bj->bki" if swapped else "bkij,bj->bki", hessian, tangent)
                shape = derivative_shape(spec.output_shape(output), spec.input_shape(one))
                name = tangent_name(spec.derivatives[output][one])
                products[name] = np.asarray(total).reshape(-1, *shape).astype(self._dtype(output))
        return products

    def _jacobian(self, output: str, wrt: str) -> np.ndarray:
        """Return a first derivative as ``(rows, output elements, input elements)``, in float64."""
        array = self.derivatives[self._spec.derivatives[output][wrt]].astype(np.float64)
        return array.reshape(len(array), prod(self._spec.output_shape(output)), prod(self._spec.input_shape(wrt)))

    def _flat_row(self, name: str) -> np.ndarray:
        return self._rows[name].reshape(self.n_rows, -1).astype(np.float64)

    def _dtype(self, output: str) -> Any:
        return self._function.outputs[output].dtype.as_numpy_dtype


# The tensors of each part by name; second derivatives are judged by their products with the tangents.
_PARTS: Final[Mapping[Part, Callable[[EagerReference], Arrays]]] = {
    Part.OUTPUTS: lambda reference: reference.values,
    Part.DERIVATIVES: lambda reference: reference.derivatives,
    Part.ALIASES: lambda reference: reference.aliases,
    Part.OUTPUT_TANGENTS: lambda reference: reference.output_tangents,
    Part.INPUT_COTANGENTS: lambda reference: reference.input_cotangents,
    Part.DERIVATIVE_TANGENTS: lambda reference: reference.derivative_tangents,
    Part.SECOND_DERIVATIVES: lambda reference: reference.derivative_tangents,
    Part.OUTPUT_STDS: lambda reference: reference.output_stds,
    Part.DERIVATIVE_STDS: lambda reference: reference.derivative_stds,
}
