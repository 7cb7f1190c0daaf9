"""A JAX function as a source: its StableHLO inside one TensorFlow operation, differentiated by JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

import tensorflow as tf

from gradwire._errors import UsageError
from gradwire._extras import import_extra

EXTRA: Final = "jax"


@final
class JaxFunction:
    """A JAX function of batch-first arrays, callable with tensors; made by ``from_jax``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *tensors: Any) -> Any:
        """Insert the function into the TensorFlow graph."""
        jax, jax2tf = import_extra("jax", EXTRA), import_extra("jax.experimental.jax2tf", EXTRA)
        if any(tensor.dtype == tf.float64 for tensor in tensors) and not jax.config.read("jax_enable_x64"):
            raise UsageError(
                "an input is float64, and JAX computes in float32: "
                'call jax.config.update("jax_enable_x64", True) before JAX is used'
            )
        batched = ["b, ..."] * len(tensors)  # one symbol: the inputs have the same rows
        converted = jax2tf.convert(self._function, polymorphic_shapes=batched)
        return tf.autograph.experimental.do_not_convert(converted)(*tensors)


def from_jax(function: Callable[..., Any]) -> JaxFunction:
    """Return a JAX function as a source for ``export``, which needs ``inputs`` for it as for every callable.

    The package is always compiled (``compile="xla"``), for only XLA runs JAX's operations. JAX's own derivatives are
    used, of any order. Functions that call LAPACK inside JAX (a Cholesky factor) do not run in TensorFlow.

    Args:
        function: of one array for each input, ``(batch, …)``, with rows independent of one another (``jax.vmap`` of a
            function of one row); returns an array, a sequence or a dict of arrays, with the batch first.

    Raises:
        MissingExtra: JAX is not installed.
    """
    import_extra("jax", EXTRA)
    return JaxFunction(function)
