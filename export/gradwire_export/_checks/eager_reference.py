"""What every signature of a package has to give, from the model itself and by another path.

The package repeats rows and sweeps once; here a plain tape runs eagerly for each output number, products with the
Jacobian are sums over its entries, and a Hessian is judged by its product with a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from gradwire._package import contract
from gradwire_export._package import Plan, derivative_by_component, second_derivative_by_component

Arrays: TypeAlias = dict[str, np.ndarray]


def expected_answers(plan: Plan, points: Arrays, vectors: Arrays) -> dict[str, Arrays]:
    """Computes what each signature of a plan gives, on the CPU.

    Args:
        plan: what the package holds.
        points: ``{input: (rows, *input)}``.
        vectors: tangents and cotangents by their names, ``(rows, *row)``.

    Returns:
        Arrays by signature and output name; for `hessian` the products ``<derivative>_dot`` with the tangents stand for
        the second derivatives, as ``along_tangents`` makes them.
    """
    tensors = {name: tf.constant(rows) for name, rows in points.items()}
    tangents = {wrt: tf.constant(vectors[contract.tangent_name(wrt)]) for wrt in plan.function.wrt}
    with tf.device("CPU:0"):  # as the fresh process: a GPU may round products to TF32
        values = {name: tensor.numpy() for name, tensor in plan.function.call(tensors).items()}
        first = _by_component(
            plan, lambda output, index: derivative_by_component(plan.function, tensors, output, index)
        )
        answers = {
            contract.VALUE: values,
            contract.SERVING_DEFAULT: values | first,
            contract.JVP: values | _pushed(plan, first, vectors),
            contract.VJP: values | _pulled(plan, first, vectors),
        }
        if {contract.HVP, contract.HESSIAN} & set(plan.signatures):
            second = _by_component(
                plan,
                lambda output, index: second_derivative_by_component(plan.function, tensors, tangents, output, index),
            )
            along = {contract.tangent_name(name): array for name, array in second.items()}
            answers |= dict.fromkeys((contract.HVP, contract.HESSIAN), values | first | along)
    return {name: answers[name] for name in plan.signatures if name in answers}


def along_tangents(plan: Plan, hessians: Mapping[str, np.ndarray], vectors: Arrays) -> Arrays:
    """Multiplies Hessians with the tangents.

    Args:
        plan: what the package holds.
        hessians: second derivatives by name, each pair of inputs once.
        vectors: tangents by name.

    Returns:
        ``<derivative>_dot`` by name, as `hvp` gives them.
    """
    found: Arrays = {}
    for output, pairs in plan.seconds.items():
        size = prod(plan.shapes[output])
        for one in plan.function.wrt:
            total = 0.0
            for other in plan.function.wrt:
                swapped = other not in pairs[one]
                block = hessians[pairs[other][one] if swapped else pairs[one][other]].astype(np.float64)
                rows = len(block)
                outer, inner = (other, one) if swapped else (one, other)
                block = block.reshape(rows, size, prod(plan.row(outer)), prod(plan.row(inner)))
                vector = vectors[contract.tangent_name(other)].reshape(rows, -1)
                total = total + np.einsum("bkji,bj->bki" if swapped else "bkij,bj->bki", block, vector)
            shape = contract.derivative_shape(plan.shapes[output], plan.row(one))
            name = contract.tangent_name(plan.names[output][one])
            found[name] = np.asarray(total).reshape(-1, *shape).astype(_dtype(plan, output))
    return found


def _by_component(plan: Plan, differentiate: Callable[[str, tuple[int, ...]], Mapping[str, tf.Tensor]]) -> Arrays:
    """Stacks what a tape gives for each output number into the contract's shapes."""
    found: Arrays = {}
    for output, by_input in plan.names.items():
        row = plan.shapes[output]
        parts = [differentiate(output, index) for index in np.ndindex(*row)]
        for wrt, name in by_input.items():
            stacked = np.stack([np.asarray(tf.convert_to_tensor(part[wrt])) for part in parts], axis=1)
            shape = (-1, *contract.derivative_shape(row, plan.row(wrt)))
            found[name] = stacked.reshape(shape) * (0 if (output, wrt) in plan.zeros else 1)
    return found


def _pushed(plan: Plan, first: Arrays, vectors: Arrays) -> Arrays:
    pushed: Arrays = {}
    for output, by_input in plan.names.items():
        total = sum(
            np.einsum(
                "bkj,bj->bk",
                _flat(plan, first, output, wrt),
                _row_vectors(vectors[contract.tangent_name(wrt)]),
            )
            for wrt in by_input
        )
        shaped = np.asarray(total).reshape(-1, *plan.shapes[output])
        pushed[contract.tangent_name(output)] = shaped.astype(_dtype(plan, output))
    return pushed


def _pulled(plan: Plan, first: Arrays, vectors: Arrays) -> Arrays:
    pulled: Arrays = {}
    for wrt in plan.function.wrt:
        total = sum(
            np.einsum(
                "bkj,bk->bj",
                _flat(plan, first, output, wrt),
                _row_vectors(vectors[contract.cotangent_name(output)]),
            )
            for output in plan.names
        )
        dtype = plan.function.inputs[wrt].dtype.as_numpy_dtype
        pulled[contract.cotangent_name(wrt)] = np.asarray(total).reshape(-1, *plan.row(wrt)).astype(dtype)
    return pulled


def _flat(plan: Plan, first: Arrays, output: str, wrt: str) -> np.ndarray:
    """A first derivative as ``(rows, output numbers, input numbers)``, in float64."""
    array = first[plan.names[output][wrt]].astype(np.float64)
    return array.reshape(len(array), prod(plan.shapes[output]), prod(plan.row(wrt)))


def _row_vectors(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), -1).astype(np.float64)


def _dtype(plan: Plan, output: str) -> Any:
    return plan.function.outputs[output].dtype.as_numpy_dtype
