"""The native engine and the file of C99 as callers have them: a package's numbers, or a refusal."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import gradwire
from gradwire_export import convert, export

LOWER, UPPER = -1.0, 1.5


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two inputs, one of them a vector, and two outputs, one of them a vector."""
    keras.utils.set_random_seed(3)
    x, t = keras.Input((2,), name="x"), keras.Input((1,), name="t")
    hidden = layers.Dense(9, "tanh")(layers.Concatenate()([x, t]))
    outputs = {"f": layers.Dense(1, name="f")(hidden), "w": layers.Dense(3, "softplus", name="w")(hidden)}
    model = keras.Model({"x": x, "t": t}, outputs)
    base = tmp_path_factory.mktemp("native")
    export(model, to=base / "models/two", domain={"x": (LOWER, UPPER), "t": (LOWER, UPPER)})
    return base / "models/two"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this module's own."""
    directory = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory))
        yield directory / "gradwire/kernels"


@pytest.fixture(scope="module")
def native(package: Path, cache: Path) -> Iterator[gradwire.Model]:
    """The package, compiled."""
    del cache
    with gradwire.load(package, engine="native") as model:
        yield model


def points(rows: int) -> dict[str, np.ndarray]:
    """Random points of the domain."""
    random = np.random.default_rng(rows)
    return {name: random.uniform(LOWER, UPPER, (rows, *row)).astype("f4") for name, row in (("x", (2,)), ("t", ()))}


@pytest.mark.slow
def test_every_signature_is_the_packages(native: gradwire.Model, package: Path):
    """To a few units in the last place, and every check of verify passes."""
    with gradwire.load(package) as model:
        assert list(native.signatures) == list(model.signatures)
        for signature in ("serving_default", "value", "jvp", "vjp", "hvp", "hessian"):
            specs = native.signatures[signature].inputs
            directions = {name: np.ones((40, *spec.row_shape), "f4") for name, spec in specs.items()}
            inputs = {name: points(40).get(name, array).reshape(array.shape) for name, array in directions.items()}
            theirs = model.predict(signature, **inputs)
            for name, ours in native.predict(signature, **inputs).items():
                assert (ours.dtype, ours.shape) == (theirs[name].dtype, theirs[name].shape)
                scale = np.abs(theirs[name]).max()
                np.testing.assert_allclose(ours, theirs[name], rtol=0, atol=64 * np.finfo("f4").eps * scale)
    assert gradwire.verify(native, points=8).passed


def leaves(tree: object) -> list[np.ndarray]:
    """The arrays of nested mappings and tuples, in order."""
    if isinstance(tree, np.ndarray):
        return [tree]
    parts = tree.values() if hasattr(tree, "values") else tree
    return [leaf for part in parts for leaf in leaves(part)]


@pytest.mark.slow
def test_rows_are_the_same_in_threads(native: gradwire.Model, package: Path):
    """Large calls are cut into pieces, and small ones are not."""
    x = points(70_001)
    whole = leaves(native.value_and_grad(**x))
    for start, end in ((0, 1), (32_700, 32_800), (69_990, 70_001)):
        part = leaves(native.value_and_grad(**{name: array[start:end] for name, array in x.items()}))
        for small, large in zip(part, whole, strict=True):
            np.testing.assert_array_equal(small, large[start:end])
    with gradwire.load(package, engine="native", timeout=1e-9) as hurried, pytest.raises(gradwire.DeadlineExceeded):
        hurried.value_and_grad(**x)


@pytest.mark.slow
def test_what_is_cached_needs_no_tensorflow(native: gradwire.Model, package: Path):
    """And a copy of the model in another process finds it."""
    code = (
        "import sys, gradwire; model = gradwire.load(sys.argv[1], engine='native'); "
        "print(float(model.value(x=[[0.5, 1.0]], t=[0.0])['f'][0])); assert 'tensorflow' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(package)], capture_output=True, text=True, check=True, timeout=60
    )
    value = native.value(x=np.array([[0.5, 1.0]], "f4"), t=np.array([0.0], "f4"))["f"][0]
    assert float(result.stdout) == pytest.approx(float(value), abs=1e-9)
    copy = pickle.loads(pickle.dumps(native))
    assert copy.value(x=np.array([[0.5, 1.0]], "f4"), t=np.array([0.0], "f4"))["f"][0] == value


@pytest.mark.slow
def test_a_cache_that_others_can_write_is_refused(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A library that is loaded runs as this user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "gradwire/kernels").mkdir(parents=True)
    (tmp_path / "gradwire/kernels").chmod(0o777)
    with pytest.raises(gradwire.PackageError, match="can be written by others"):
        gradwire.load(package, engine="native")


@pytest.mark.slow
def test_without_a_compiler(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Native names what is missing, and auto goes on in TensorFlow."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(gradwire.MissingExtra, match="C compiler"):
        gradwire.load(package, engine="native")
    assert not list((tmp_path / "gradwire/kernels").iterdir())
    with gradwire.load(package, engine="auto") as model:
        assert model.value(**points(2))["f"].shape == (2,)


def test_unknown_engines_are_refused(package: Path):
    """With those that there are."""
    with pytest.raises(gradwire.UsageError, match="expected one of tensorflow, native, auto"):
        gradwire.load(package, engine="gpu")  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
def test_a_package_as_a_file_of_c99(package: Path, tmp_path: Path):
    """With the names that its functions have; what was there stays where something is refused."""
    converted = convert(package, to=tmp_path / "two.c")
    text = (tmp_path / "two.c").read_text()
    assert " * void two_value(const float x[2], const float t[1], float f[1], float w[3]);" in text
    assert converted.left_out == {}
    assert set(converted.card.checks["c"]["ulp"]) >= {"serving_default", "value", "hessian"}
    with pytest.raises(gradwire.UsageError, match="cannot be written as C"):
        convert(package, to=tmp_path / "two.c", signatures=["uncertainty"])
    assert (tmp_path / "two.c").read_text() == text
    assert [each.name for each in tmp_path.iterdir()] == ["two.c"]
