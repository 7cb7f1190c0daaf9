"""Which way each signature of a package takes its derivatives: chosen by the number of sweeps and products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from gradwire_export._derivatives import PRODUCT, Blocks, Plan, Structure

# In sweeps: a loop's product sweeps back through the loop and again through that sweep, keeping what both need.
LOOP_PRODUCT: Final = 3.0
# Of a Hessian, a product along a product, in sweeps over a sweep.
SECOND_PRODUCT: Final = 2.0
MOST_LISTED: Final = 4096  # entries of a block whose columns are on the card


@final
@dataclass(frozen=True)
class Plans:
    """How a package's derivatives are computed.

    Attributes:
        first: first derivatives.
        hvp: first derivatives, where their derivatives along a tangent are taken too.
        hessian: first derivatives, where second derivatives are taken too: by sweeps alone, or by products alone.
    """

    first: Plan
    hvp: Plan
    hessian: Plan


def cheapest_plans(
    blocks: Blocks, *, loops: bool, products: bool, second_products: Callable[[], bool] = lambda: False
) -> Plans:
    """Choose the cheaper side.

    Args:
        blocks: the Jacobian.
        loops: whether the function has loops.
        products: whether the function has forward products.
        second_products: whether it has products along those; it is called where that matters.
    """
    swept = blocks.swept()
    first = blocks.cheapest(LOOP_PRODUCT if loops else PRODUCT) if products else swept
    pushed = blocks.pushed()
    by_products = SECOND_PRODUCT * (LOOP_PRODUCT if loops else 1) * len(pushed.forward) ** 2
    prefers = products and by_products < len(swept.backward) * sum(blocks.inputs.values())
    if not ((first.forward or prefers) and second_products()):
        return Plans(first, swept, swept)
    return Plans(first, first, pushed if prefers else swept)


def listed(structure: Structure) -> dict[str, dict[str, Any]]:
    """Return what a card says of the blocks that have entries which are zero whatever the inputs."""
    by_output: dict[str, dict[str, Any]] = {}
    for (output, wrt), entries in structure.items():
        nonzeros = int(entries.sum())
        rows = [np.flatnonzero(row).tolist() for row in entries] if nonzeros <= MOST_LISTED else None
        by_output.setdefault(output, {})[wrt] = {"nonzeros": nonzeros, "entries": entries.size, "rows": rows}
    return by_output
