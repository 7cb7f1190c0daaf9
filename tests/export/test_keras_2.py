"""Files of Keras 2: exported with what Keras 2 computes, or refused in one line with the way out.

The files are of tf_keras 2.21 in float64 (tests/cases/README.md), and so are the values at the points below.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import PackageError
from gradwire_export import export
from gradwire_export._checks.fresh_process import Request
from gradwire_export._sources.function import function_of
from gradwire_export._sources.source import read_source

CASES = Path(__file__).parents[1] / "cases"
PAIR = {"t": np.array([[0.5], [1.0]]), "x": np.array([[0.1, 0.2], [0.3, -0.4]])}
STEPS = {"x": np.arange(12.0).reshape(2, 3, 2) / 10}
# name: (source, points, Keras 2's values there)
READ = {
    "a Functional model, .h5": ("pair.h5", PAIR, [3.1554386501053773, 3.0671356241099104]),
    "a Sequential model, .h5": ("line.h5", {"x": PAIR["x"]}, [1.560747231898915, 1.371972154155027]),
    "a SavedModel": ("pair", PAIR, [3.1554386501053773, 3.0671356241099104]),
    "a SavedModel with a loop": ("steps", STEPS, [1.303588999919471, 1.344682975702411]),
}
OF_KERAS_2 = (
    r"is of Keras 2\.21\.0, and Keras 3\S* cannot read it: .*tf_keras.*save_format='tf'.* export that directory"
)
REFUSED = {
    "a recurrent layer, .h5": ("steps.h5", OF_KERAS_2),
    "operations of TensorFlow, .h5": ("ops.h5", OF_KERAS_2),
    ".keras": ("pair.keras", OF_KERAS_2),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The directory of the files."""
    directory = tmp_path_factory.mktemp("keras_2")
    with zipfile.ZipFile(CASES / "keras_2.zip") as archive:
        archive.extractall(directory)
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_it_is_the_function_of_keras_2(name, files):
    """Values are Keras 2's, and derivatives are eighth-order differences of them."""
    source, points, expected = READ[name]
    function = function_of(read_source(files / source).model, inputs=list(points) if len(points) == 1 else None)
    assert list(function.inputs) == list(points)
    np.testing.assert_allclose(np.ravel(function.call(tensors(points))["f"]), expected, rtol=1e-14)
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    for wrt, at in points.items():
        for element in np.ndindex(*at.shape[1:]):
            axis = np.zeros_like(at)
            axis[(slice(None), *element)] = 1e-2

            def moved(step, wrt=wrt, at=at, axis=axis):
                return np.ravel(function.call(tensors(points | {wrt: at + step * axis}))["f"])

            differences = sum(w * (moved(k) - moved(-k)) for k, w in weights.items()) / 1e-2
            np.testing.assert_allclose(
                gradient(function, points, wrt)[(slice(None), *element)], differences, atol=1e-10
            )


def tensors(points):
    """Points as tensors."""
    return {name: tf.constant(array) for name, array in points.items()}


def gradient(function, points, wrt):
    """By a tape."""
    x = tensors(points)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function.call(x)["f"]
    return np.asarray(tape.gradient(value, x[wrt]))


@pytest.mark.slow
@pytest.mark.usefixtures("without_card_checks")
def test_its_package_computes_the_same(files, tmp_path, run_in_one_process):
    """In a session that knows no Keras; the loop reads variables."""
    source, points, expected = READ["a SavedModel with a loop"]
    exported = export(files / source, to=tmp_path / "m", signatures=[])
    (response,) = run_in_one_process(exported.path, [Request("serving_default", points)])
    np.testing.assert_allclose(response.outputs["f"].ravel(), expected, rtol=1e-14)


@pytest.mark.parametrize("name", REFUSED)
def test_what_keras_3_does_not_read_is_refused(name, files):
    """The message has the version, and the way that works."""
    source, message = REFUSED[name]
    with pytest.raises(PackageError, match=message) as refused:
        read_source(files / source)
    assert "\n" not in str(refused.value)
