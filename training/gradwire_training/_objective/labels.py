"""Labels of which some may be missing, and means over those that are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pair: TypeAlias = "tuple[Labels, Any]"  # labels, and the tensor that should be equal to them


@final
@dataclass(frozen=True, slots=True)
class Labels:
    """What a tensor should be, where that is known.

    Attributes:
        target: ``(rows, *shape)``, zero where it is not known.
        present: bool, the same shape.
        count: how many numbers are known; a tensor in a mini-batch.
    """

    target: Any
    present: Any
    count: Any

    @classmethod
    def of(cls, column: NDArray[np.float64], dtype: str) -> Labels:
        """Reads a column in which NaN means that a number is not known."""
        present = np.isfinite(column)
        target = tf.constant(np.where(present, column, 0.0), dtype)
        return cls(target=target, present=tf.constant(present), count=int(present.sum()))

    def take(self, rows: Any) -> Labels:
        """Gives the labels of some rows, by an integer tensor of row numbers."""
        present = tf.gather(self.present, rows)
        count = tf.reduce_sum(tf.cast(present, self.target.dtype))
        return Labels(target=tf.gather(self.target, rows), present=present, count=count)

    def over(self, function: Callable[[Any], Any]) -> Labels:
        """Applies a function to both tensors."""
        return Labels(target=function(self.target), present=function(self.present), count=self.count)

    def errors(self, output: Any) -> Any:
        """Gives output - target, selected before anything is done to it: a missing label has no gradient."""
        return tf.where(self.present, output - self.target, tf.zeros_like(self.target))


def mean_over(size: Callable[[Any], Any], pairs: list[Pair]) -> Any:
    """Averages the size of the errors over every label that is there, of all the pairs together.

    Args:
        size: what to average, such as ``tf.square``.
        pairs: labels and the tensors that should be equal to them; at least one pair.

    Returns:
        A scalar; zero where no label is there.
    """
    total = tf.add_n([tf.reduce_sum(size(labels.errors(output))) for labels, output in pairs])
    count = tf.cast(tf.add_n([tf.cast(labels.count, total.dtype) for labels, _ in pairs]), total.dtype)
    return total / tf.maximum(count, 1)
