"""Whatever a function, its gradient or a damaged file raises becomes one line that names what failed, where and why."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from gradwire._cli import main
from gradwire._errors import CheckFailed, ConversionError, GradwireError, PackageError
from gradwire_export import export

pytestmark = pytest.mark.usefixtures("run_in_one_process", "without_card_checks")

X = {"x": tf.TensorSpec((None, 2), tf.float32)}
NEVER = ("\n", "in user code", "gradwire_export/", "autograph_generated", "fault of gradwire", "bug in gradwire")


@tf.custom_gradient
def _without_gradient(x):
    def gradient(up):
        raise NotImplementedError("no gradient of mine")

    return tf.sin(x), gradient


@tf.custom_gradient
def _wrong_number_of_gradients(x):
    return tf.sin(x), lambda up: (up, up)


@tf.custom_gradient
def _without_gradient_of_cotangent(up):
    def gradient(_):
        raise RuntimeError("no second gradient of mine")

    return tf.identity(up), gradient


@tf.custom_gradient
def _without_second(x):
    return tf.sin(x), lambda up: _without_gradient_of_cotangent(up) * tf.cos(x)


def _depth(x):
    raise KeyError("depth")


def _branches_of_two_dtypes(x):
    if x[0, 0] > 0:
        return x * 2
    return tf.cast(x, tf.float64)


def _numpy(x):
    import numpy as np

    return np.sin(x)


def _only_in_a_graph(x):
    if tf.executing_eagerly():
        raise ValueError("not eagerly")
    return tf.sin(x)


def _only_once() -> Callable[[Any], Any]:
    calls = []

    def function(x):
        calls.append(x)
        if len(calls) > 1:
            raise ValueError("called twice")
        return tf.sin(x)

    return function


class _Unsteady(keras.layers.Layer):
    """Fails once its model is built."""

    broken = False

    def call(self, x):
        if self.broken:
            raise ValueError(f"cannot take\n{type(x).__name__}")
        return x


def _unsteady_model() -> keras.Model:
    layer = _Unsteady()
    x = keras.Input((2,), name="x")
    model = keras.Model(x, layer(x))
    layer.broken = True
    return model


# name: (function, in the order of the message: what could not be done, to what, which exception, the user's line)
FUNCTIONS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "raises": (
        lambda: _depth,
        (
            "the function cannot be traced with inputs x (None, 2) float32",
            "KeyError: 'depth'",
            'raise KeyError("depth")',
        ),
    ),
    "branches of two dtypes": (
        lambda: _branches_of_two_dtypes,
        ("cannot be traced", "TypeError: 'retval_' has dtype float32", "if x[0, 0] > 0:"),
    ),
    "NumPy": (lambda: _numpy, ("cannot be traced", "NotImplementedError: Cannot convert a symbolic", "np.sin(x)")),
    "an operation of another shape": (
        lambda: lambda x: tf.matmul(x, tf.ones((3, 1))),
        ("cannot be traced", "ValueError: Dimensions must be equal, but are 2 and 3"),
    ),
    "a Keras layer that fails": (
        _unsteady_model,
        ("cannot be traced", "in _Unsteady.call(): ValueError: cannot take SymbolicTensor", "raise ValueError("),
    ),
    "a gradient that fails": (
        lambda: _without_gradient,
        (
            "output 'f' cannot be differentiated with respect to input 'x'",
            "NotImplementedError: no gradient of mine",
            "test_failures.py, line",
            "raise NotImplementedError",
        ),
    ),
    "a wrong number of gradients": (
        lambda: _wrong_number_of_gradients,
        ("output 'f' cannot be differentiated with respect to input 'x'", "Expected 2 but received 3"),
    ),
    "a second gradient that fails": (
        lambda: _without_second,
        ("signature 'jvp' cannot be built; where it is optional, leave it out", "RuntimeError: no second gradient"),
    ),
    "fails the second time": (
        _only_once,
        ("the function cannot be differentiated: ValueError: called twice", 'raise ValueError("called twice")'),
    ),
    "fails eagerly": (
        lambda: _only_in_a_graph,
        ("cannot be run eagerly, to compare the package with it: ValueError: not eagerly",),
    ),
    "nothing": (lambda: lambda _: None, ("output 'f' is of type NoneType, expected a dense tensor",)),
    "a ragged tensor": (lambda: tf.RaggedTensor.from_tensor, ("output 'f' is of type RaggedTensor",)),
    "a sparse tensor": (lambda: tf.sparse.from_dense, ("output 'f' is of type SparseTensor",)),
    "a dict in a dict": (lambda: lambda x: {"a": {"b": x}}, ("output 'a' is of type dict",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_fails_is_one_conversion_error(name, tmp_path):
    """It says what could not be done, to which output and input, and the user's own line; nothing is left."""
    make, parts = FUNCTIONS[name]
    source = make()
    with pytest.raises(ConversionError) as refused:
        export(source, to=tmp_path / "m", inputs=None if isinstance(source, keras.Model) else X)
    _require_one_line(str(refused.value), parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_package_that_fails_when_run_names_the_operation(tmp_path):
    """TensorFlow's message without the marks around it."""
    with pytest.raises(CheckFailed) as refused:
        export(
            lambda x: tf.gather(tf.ones((3, 2)), tf.fill([tf.shape(x)[0]], 50)) * x,
            to=tmp_path / "m",
            inputs=X,
            signatures=[],
        )
    _require_one_line(str(refused.value), ("fails when served", "indices[", "= 50 is not in [0, 3)", "(in ", "Gather"))
    assert list(tmp_path.iterdir()) == []


def _require_one_line(text: str, parts: tuple[str, ...]) -> None:
    place = 0
    for part in parts:  # in this order
        place = text.find(part, place)
        assert place >= 0, f"{part!r} is not in {text!r}"
    assert not [mark for mark in NEVER if mark in text], text


@keras.saving.register_keras_serializable("tests")
class _Fussy(keras.layers.Layer):
    """Loads, and then takes nothing."""

    def __init__(self, *, broken: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.broken = broken

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"broken": True}

    def call(self, x):
        if self.broken:
            raise ValueError("takes nothing")
        return x


class _Unknown(keras.layers.Layer):
    """Is not registered."""

    def call(self, x):
        return x


def _net(*layers: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((2,), name="x"), *layers, keras.layers.Dense(1)])


def _edited(change: Callable[[str, bytes], bytes | None]) -> Callable[[Path], Path]:
    """Make a .keras file whose members have been changed, or removed with None."""

    def make(directory: Path) -> Path:
        _net().save(directory / "whole.keras")
        with zipfile.ZipFile(directory / "whole.keras") as whole, zipfile.ZipFile(directory / "m.keras", "w") as copy:
            for member in whole.namelist():
                content = change(member, whole.read(member))
                if content is not None:
                    copy.writestr(member, content)
        return directory / "m.keras"

    return make


def _config(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    return _edited(lambda member, content: change(content) if member == "config.json" else content)


def _saved_keras(layer: Callable[[], keras.layers.Layer]) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        _net(layer()).save(directory / "m.keras")
        return directory / "m.keras"

    return make


def _truncated(directory: Path) -> Path:
    _net().save(directory / "m.keras")
    content = (directory / "m.keras").read_bytes()
    (directory / "m.keras").write_bytes(content[: len(content) // 2])
    return directory / "m.keras"


def _saved(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Make a SavedModel whose files have been changed."""

    def make(directory: Path) -> Path:
        module = tf.Module()
        module.weight = tf.Variable([[1.0], [2.0]])
        spec = tf.TensorSpec((None, 2), tf.float32, name="x")
        function = tf.function(lambda x: {"f": x @ module.weight}).get_concrete_function(spec)
        tf.saved_model.save(module, str(directory / "saved"), signatures=function)
        change(directory / "saved")
        return directory / "saved"

    return make


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


FILES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "half a .keras file": (_truncated, ("cannot load", "m.keras as a Keras model", "accessible `.keras` zip file")),
    "a .keras file whose configuration is no JSON": (_config(lambda _: b"{"), ("as a Keras model: JSONDecodeError",)),
    "a .keras file whose configuration is a list": (_config(lambda _: b"[]"), ("as a Keras model: TypeError",)),
    "a .keras file with weights of another shape": (
        _config(lambda text: text.replace(b'"units": 1', b'"units": 7')),
        ("as a Keras model: ValueError: A total of 1 objects could not be loaded", "shape"),
    ),
    "a .keras file without weights": (
        _edited(lambda member, content: None if "weights" in member else content),
        ("as a Keras model: ValueError: Expected a model.weights.h5",),
    ),
    "a .keras file with a layer that is not registered": (
        _saved_keras(_Unknown),
        ("as a Keras model: TypeError: Could not locate class '_Unknown'", "export the model from Python"),
    ),
    "a .keras file with a layer that fails": (
        _saved_keras(_Fussy),
        ("as a Keras model: in _Fussy.call(): ValueError: takes nothing",),
    ),
    "half a SavedModel": (
        _saved(lambda path: _cut(path / "saved_model.pb")),
        ("saved as a SavedModel: DecodeError: ",),
    ),
    "an empty SavedModel": (
        _saved(lambda path: (path / "saved_model.pb").write_bytes(b"")),
        ("saved as a SavedModel: it holds no graph",),
    ),
    "a SavedModel without variables": (
        _saved(lambda path: (path / "variables" / "variables.index").unlink()),
        ("saved as a SavedModel: FileNotFoundError",),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_fails_is_one_line_of_the_command(name, tmp_path, monkeypatch, capsys):
    """The command exits with 1 and prints the line that Python raises; nothing is left."""
    make, parts = FILES[name]
    source = make(tmp_path)
    with pytest.raises(GradwireError) as refused:
        export(source, to=tmp_path / "models" / "m")
    assert isinstance(refused.value, (PackageError, ConversionError))
    _require_one_line(str(refused.value), parts)
    monkeypatch.setattr(sys, "argv", ["gradwire", "export", str(source), "--to", str(tmp_path / "models" / "m")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    _require_one_line(" ".join(capsys.readouterr().err.split()), parts)
    assert not (tmp_path / "models").exists()


def test_an_exception_without_a_message_has_its_name():
    """The type alone says something."""

    class SilentError(Exception):
        pass

    def silent(_):
        raise SilentError

    with pytest.raises(
        ConversionError, match=r"float32: SilentError \(test_failures.py, line \d+: raise SilentError\)"
    ):
        export(silent, to="nowhere", inputs=X)
