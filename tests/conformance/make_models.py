"""The models that the records were taken with: ``python make_models.py DIRECTORY [NAME…]``.

Names of inputs, outputs and Python functions, and the order of the operations, are those of the recorded models: they
show in metadata and in error texts.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

LOG_SIGNATURES = ("serving_default", "value", "derivative2")


class Log(tf.Module):
    """f = log x + c·x², and its first and second derivatives."""

    def __init__(self, c: float = 0.5, jit_compile: bool | None = None) -> None:
        super().__init__(name="log")
        self.c = tf.Variable(tf.constant(c, tf.float32), name="c")
        spec = [tf.TensorSpec([None, 1], tf.float32, name="x")]
        self.serving_default = tf.function(self._both, input_signature=spec, jit_compile=jit_compile)
        self.value = tf.function(self._value, input_signature=spec, jit_compile=jit_compile)
        self.derivative2 = tf.function(self._d2, input_signature=spec, jit_compile=jit_compile)

    def f(self, x: tf.Tensor) -> tf.Tensor:
        return tf.math.log(x) + self.c * x * x

    def _both(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = self.f(x)
        return {"f": y, "df_dx": tape.gradient(y, x)}

    def _value(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"f": self.f(x)}

    def _d2(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = self.f(x)
            d = inner.gradient(y, x)
        return {"f": y, "df_dx": d, "d2f_dx2": outer.gradient(d, x)}


class Multi(tf.Module):
    """Inputs x [N, 3] and t [N, 1]; outputs f [N, 2] and df_dx [N, 2, 3]."""

    def __init__(self) -> None:
        super().__init__(name="multi")
        specs = [
            tf.TensorSpec([None, 3], tf.float32, name="x"),
            tf.TensorSpec([None, 1], tf.float32, name="t"),
        ]
        self.serving_default = tf.function(self._go, input_signature=specs)

    def _go(self, x: tf.Tensor, t: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            f0 = tf.reduce_sum(x * x, axis=1, keepdims=True) * t
            f1 = tf.sin(x[:, :1]) * tf.exp(x[:, 1:2]) + x[:, 2:3] * t
            f = tf.concat([f0, f1], axis=1)
        return {"f": f, "df_dx": tape.batch_jacobian(f, x)}


class Ragged(tf.Module):
    """Sums of rows of any length, and the rows twice."""

    def __init__(self) -> None:
        super().__init__(name="var")
        self.serving_default = tf.function(
            lambda x: {"s": tf.reduce_sum(x, axis=1), "y": 2.0 * x},
            input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")],
        )


class Slow(tf.Module):
    """Takes as many steps as its largest input, about 0.7 ms each, and returns its input."""

    def __init__(self) -> None:
        super().__init__(name="slow")

        def go(x: tf.Tensor) -> dict[str, tf.Tensor]:
            n = tf.cast(tf.reduce_max(x), tf.int32)
            _, a = tf.while_loop(
                lambda i, _: i < n,
                lambda i, a: (i + 1, tf.matmul(a, a) / 300.0),
                [tf.constant(0), tf.ones([300, 300])],
            )
            return {"y": x + 0.0 * a[0, 0]}

        self.serving_default = tf.function(go, input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])


class Types(tf.Module):
    """An output of every dtype; a scalar, a constant output, strings, integers, doubles."""

    def __init__(self) -> None:
        super().__init__(name="types")
        dtypes = [
            *(tf.float32, tf.float64, tf.float16, tf.bfloat16),
            *(tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64),
            *(tf.bool, tf.complex64, tf.complex128),
        ]

        def go(x: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = {"o_" + dtype.name: tf.cast(x, dtype) for dtype in dtypes}
            outputs["o_string"] = tf.strings.as_string(x)
            return outputs

        def spec(shape: list[int | None], dtype: tf.DType, name: str) -> list[tf.TensorSpec]:
            return [tf.TensorSpec(shape, dtype, name=name)]

        self.serving_default = tf.function(go, input_signature=spec([None], tf.float32, "x"))
        self.scalar = tf.function(lambda a: {"b": a * 2}, input_signature=spec([], tf.float64, "a"))
        self.const = tf.function(
            lambda x: {"y": x, "k": tf.constant([1.0, 2.0])}, input_signature=spec([None, 1], tf.float32, "x")
        )
        self.strings = tf.function(
            lambda s: {"o": tf.strings.join([s, "!"])}, input_signature=spec([None], tf.string, "s")
        )
        self.ints = tf.function(lambda i: {"o": i + 1}, input_signature=spec([None], tf.int32, "i"))
        self.f64 = tf.function(lambda x: {"y": tf.math.log(x)}, input_signature=spec([None, 1], tf.float64, "x"))


class Bytes(tf.Module):
    """Strings under a name that ends in _bytes: REST encodes those in base64."""

    def __init__(self) -> None:
        super().__init__(name="b")
        self.serving_default = tf.function(
            lambda s: {"o_bytes": tf.strings.join([s, "!"])}, input_signature=[tf.TensorSpec([None], tf.string, "s")]
        )


def _save(module: Any, path: Path, *signatures: str) -> None:
    tf.saved_model.save(module, str(path), signatures={name: getattr(module, name) for name in signatures})


def _defaults(root: Path) -> None:
    # Multi, with a default value for the input t in its SignatureDef.
    _save(Multi(), root / "defaults" / "1", "serving_default")
    file = root / "defaults" / "1" / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    signature = model.meta_graphs[0].signature_def["serving_default"]
    signature.defaults["t"].CopyFrom(tf.make_tensor_proto([[10.0]], dtype=tf.float32))
    file.write_bytes(model.SerializeToString())


def _corrupt(root: Path) -> None:
    _save(Log(), root / "corrupt" / "1", *LOG_SIGNATURES)
    with (root / "corrupt" / "1" / "saved_model.pb").open("r+b") as file:
        file.write(b"\xff" * 200)


def _versions(root: Path) -> None:
    _save(Log(c=1.0), root / "versions" / "1", *LOG_SIGNATURES)
    _save(Log(c=2.0), root / "versions" / "2", *LOG_SIGNATURES)


TYPES_SIGNATURES = ("serving_default", "scalar", "const", "strings", "ints", "f64")

MAKERS: dict[str, Callable[[Path], None]] = {
    "log": lambda root: _save(Log(), root / "log" / "1", *LOG_SIGNATURES),
    "xla": lambda root: _save(Log(jit_compile=True), root / "xla" / "1", *LOG_SIGNATURES),
    "var": lambda root: _save(Ragged(), root / "var" / "1", "serving_default"),
    "multi": lambda root: _save(Multi(), root / "multi" / "1", "serving_default"),
    "slow": lambda root: _save(Slow(), root / "slow" / "1", "serving_default"),
    "types": lambda root: _save(Types(), root / "types" / "1", *TYPES_SIGNATURES),
    "bytes": lambda root: _save(Bytes(), root / "bytes" / "1", "serving_default"),
    "versions": _versions,
    "defaults": _defaults,
    "corrupt": _corrupt,
}


def make(root: Path, *names: str) -> None:
    """Writes models below a directory, anew where they are there.

    Args:
        root: the directory.
        *names: which models; all where none is named.
    """
    for name in names or MAKERS:
        shutil.rmtree(root / name, ignore_errors=True)
        MAKERS[name](root)


if __name__ == "__main__":
    make(Path(sys.argv[1]), *sys.argv[2:])
