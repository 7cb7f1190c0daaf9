"""The points at which a package is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf

from gradwire._errors import UsageError
from gradwire._package import Domain, contract
from gradwire_export._package import Plan
from gradwire_export._sources import row_shape

UNKNOWN_DOMAIN: Final = (-1.0, 1.0)  # where checks draw from when nobody said


def read_domain(
    domain: Mapping[str, Domain | Sequence[Any]] | None, specs: Mapping[str, tf.TensorSpec]
) -> dict[str, Domain]:
    """Checks the bounds that a caller gives.

    Args:
        domain: ``{input: (lower, upper)}``, numbers or arrays that broadcast to the input's row shape; or Domains.
        specs: of the inputs.

    Returns:
        Domains with bounds for every number of a row.

    Raises:
        UsageError: an unknown input, or bounds that are not finite, not ordered, or of another shape.
    """
    domains = {}
    for name, bounds in (domain or {}).items():
        if name not in specs:
            raise UsageError(f"domain names input {name!r}, expected one of {sorted(specs)}")
        pair = (bounds.lower, bounds.upper) if isinstance(bounds, Domain) else tuple(bounds)
        row = row_shape(specs[name])
        try:
            lower, upper = (np.broadcast_to(np.asarray(bound, np.float64), row) for bound in pair)
        except ValueError as error:
            raise UsageError(
                f"domain of {name!r} is {pair}, expected (lower, upper) for rows of shape {row}"
            ) from error
        if not (np.isfinite(lower).all() and np.isfinite(upper).all() and (lower <= upper).all()):
            raise UsageError(f"domain of {name!r} is {pair}, expected finite lower <= upper")
        domains[name] = Domain(lower.tolist(), upper.tolist())
    return domains


def draw_points(
    specs: Mapping[str, tf.TensorSpec], domain: Mapping[str, Domain], count: int, seed: int
) -> dict[str, np.ndarray]:
    """Draws seeded uniform points from the domain, or from [-1, 1] where it is unknown.

    Args:
        specs: of the inputs.
        domain: bounds by input name; inputs may be missing.
        count: number of rows.
        seed: of the generator.

    Returns:
        ``{input: (count, *input)}`` in the inputs' dtypes; integers are rounded.
    """
    generator = np.random.default_rng(seed)
    points = {}
    for name, spec in specs.items():
        lower, upper = (domain[name].lower, domain[name].upper) if name in domain else UNKNOWN_DOMAIN
        drawn = generator.uniform(lower, upper, (count, *row_shape(spec)))
        points[name] = np.asarray(np.rint(drawn) if spec.dtype.is_integer else drawn, spec.dtype.as_numpy_dtype)
    return points


def draw_vectors(plan: Plan, count: int, seed: int) -> dict[str, np.ndarray]:
    """Draws seeded tangents for the inputs and cotangents for the outputs, uniform in [-1, 1].

    Args:
        plan: what the package holds.
        count: number of rows.
        seed: of the generator.

    Returns:
        ``{name: (count, *row)}``, by the names that the signatures `jvp`, `hvp` and `vjp` give them.
    """
    generator = np.random.default_rng(seed)
    specs = {contract.tangent_name(wrt): plan.function.inputs[wrt] for wrt in plan.function.wrt}
    specs |= {contract.cotangent_name(output): spec for output, spec in plan.function.outputs.items()}
    return {
        name: np.asarray(generator.uniform(-1.0, 1.0, (count, *row_shape(spec))), spec.dtype.as_numpy_dtype)
        for name, spec in specs.items()
    }
