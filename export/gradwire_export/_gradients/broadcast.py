"""Gradients of operations of two arguments that are broadcast."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def unbroadcast(x: Any, y: Any, by_x: Any, by_y: Any) -> list[Any]:
    """Sum the gradients with respect to two broadcast arguments to the arguments' own shapes; None stays None."""
    axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=tf.shape(y))
    return [
        None if part is None else tf.reshape(tf.reduce_sum(part, over), tf.shape(like))
        for like, part, over in zip((x, y), (by_x, by_y), axes, strict=True)
    ]
