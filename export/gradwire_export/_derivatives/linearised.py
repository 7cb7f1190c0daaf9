r"""A function at a point, and products with its Jacobian from either side: :math:`J^\top\bar f` and :math:`J\dot x`.

:math:`J^\top\bar f` is one reverse sweep. :math:`J\dot x` is two: the sweep :math:`u \mapsto J^\top u` is linear in its
cotangent u, so the reverse sweep over *it*, with :math:`\dot x` as cotangent, returns :math:`J\dot x` (Christianson's
"two-reverse trick"; ``ForwardAccumulator`` fails on GRU, LSTM and some loops, and in a graph silently ignores
``custom_gradient``). The first of both is shared by all tangents, and a Session prunes what needs its cotangent. So
a tangent costs about as much as a sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar, final

import tensorflow as tf

from gradwire_export._derivatives.function import Tensors, sweep_back

Key = TypeVar("Key", bound=Hashable)


@final
class Linearised(Generic[Key]):
    """A function at a point.

    Attributes:
        values: of the function, by name.
    """

    def __init__(
        self, call: Callable[[Tensors], Mapping[Key, Any]], x: Tensors, wrt: Sequence[str], outputs: Collection[Key]
    ) -> None:
        """Evaluate a function, for products with the Jacobian of some of its outputs with respect to some inputs."""
        self._x = {name: x[name] for name in wrt}
        self._outputs = outputs
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(list(self._x.values()))
            self.values = call(x)
        self._tape = tape
        self._swept: tuple[tf.GradientTape, dict[Key, Any], Tensors] | None = None

    def pull(self, cotangents: Mapping[Key, Any], wrt: Collection[str]) -> Tensors:
        """Pull cotangents of some outputs back to some inputs."""
        targets = [self.values[output] for output in cotangents]
        return sweep_back(self._tape, targets, {name: self._x[name] for name in wrt}, list(cotangents.values()))

    def push(self, tangents: Tensors, outputs: Collection[Key]) -> dict[Key, Any]:
        """Push tangents of some inputs forward to some outputs."""
        tape, duals, pulled_back = self._swept = self._swept or self._sweep()
        used = {name: tangent for name, tangent in tangents.items() if name in pulled_back}
        targets = [pulled_back[name] for name in used]
        wrt: dict[Any, Any] = {output: duals[output] for output in outputs}
        return sweep_back(tape, targets, wrt, list(used.values()))

    def _sweep(self) -> tuple[tf.GradientTape, dict[Key, Any], Tensors]:
        """Sweep back once, recorded."""
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            # Any values do: the sweep is linear in them.
            duals = {output: tf.zeros_like(self.values[output]) for output in self._outputs}
            tape.watch(list(duals.values()))
            targets = [self.values[output] for output in duals]
            swept = self._tape.gradient(targets, self._x, output_gradients=list(duals.values()))
            pulled_back = {name: tf.convert_to_tensor(part) for name, part in swept.items() if part is not None}
        return tape, duals, pulled_back
