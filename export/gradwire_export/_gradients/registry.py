"""Replaces gradients in TensorFlow's registry for a while: the place where every sweep looks them up.

Rewriting the traced graph instead was tried first. A re-imported graph loses the gradients that ``tf.custom_gradient``
registered (``swish`` has one), for those are closures over the tensors of the first trace, and loops that read
variables cannot be differentiated in it. What is wrong is never the operation, only its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from tensorflow.python.eager.polymorphic_function.concrete_function import ConcreteFunction
from tensorflow.python.framework import ops

# Of an operation, or a tape's record of one, and the cotangents of its outputs; returns those of its inputs.
Gradient: TypeAlias = Callable[..., Any]
# Makes a gradient from TensorFlow's own, or None where it has none, to which it may leave a case.
Replacement: TypeAlias = Callable[[Gradient | None], Gradient]

_ENTRIES: Final[dict[str, dict[str, Any]]] = ops.gradient_registry._registry  # noqa: SLF001 - it has no way to replace


@contextmanager
def replaced_gradients(replacements: Mapping[str, Replacement]) -> Iterator[None]:
    """Replace the gradients of some operations, by type, in the block; nested blocks replace them once.

    Functions that were differentiated before the block keep no gradients of then: they are traced anew in it.
    """
    select = ConcreteFunction._select_forward_and_backward_functions  # noqa: SLF001 - where functions cache gradients
    if select.__module__ == __name__:  # in another such block
        yield
        return
    own = {kind: _ENTRIES.get(kind) for kind in replacements}
    try:
        for kind, replacement in replacements.items():
            entry = own[kind] or {"location": None, "type": None}
            _ENTRIES[kind] = entry | {"type": replacement(entry["type"])}
        ConcreteFunction._select_forward_and_backward_functions = _forgetful(select)  # noqa: SLF001 - the same
        yield
    finally:
        ConcreteFunction._select_forward_and_backward_functions = select  # noqa: SLF001 - the same
        for kind, entry in own.items():
            if entry is None:
                del _ENTRIES[kind]
            else:
                _ENTRIES[kind] = entry


def _forgetful(select: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the choice of a function's gradient: gradients that it cached before are dropped at its first call."""
    seen: dict[int, Any] = {}  # the values keep the functions alive, so that no other gets an identity of theirs

    def choose(function: Any, *arguments: Any) -> Any:
        if id(function) not in seen:
            seen[id(function)] = function
            for cache in ("_first_order_tape_functions", "_higher_order_tape_functions"):
                getattr(function, cache).clear()
            function._delayed_rewrite_functions._cached_function_pairs.clear()  # noqa: SLF001 - for tf.gradients
        return select(function, *arguments)

    return choose
