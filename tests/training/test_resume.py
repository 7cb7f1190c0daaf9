"""A fit that is killed in the middle and taken up again ends as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from gradwire_training import fit

pytestmark = pytest.mark.slow  # a process that imports TensorFlow and forks seven fits

SEED, STEPS = 1, 800
EXACT = ("adam", "sgd", "batches", "lm", "dropout")

# What the killed process and the test fit alike; it is written into the process's script.
SETUP = """
import keras
from gradwire_training import Value, mlp, optimizers, problems

def arguments(name):
    log = problems.get("log")
    model = mlp(inputs={"x": 1}, outputs={"f": 1}, widths=(6,), seed=SEED)
    optimizer = name
    loss = log.loss("sobolev")
    if name == "batches":
        optimizer = optimizers.Adam(batch_size=5)
    if name == "dropout":
        layers = model.layers
        model = keras.Sequential([keras.Input((1,)), *layers[:-1], keras.layers.Dropout(0.2), layers[-1]])
        optimizer, loss = "sgd", Value()
    return dict(model=model, samples=log.samples(), loss=loss, optimizer=optimizer, steps=STEPS, seed=SEED)
"""

# One process imports TensorFlow, and forks one child a fit before anything runs: seven seconds instead of forty.
KILLED = """
import os, signal, sys
from pathlib import Path
from gradwire_training import fit
from gradwire_training._progress import checkpoint

checkpoint.EVERY_SECONDS = 0.0  # at every chance

def run(name):
    path = Path(f"{name}.checkpoint")
    def kill(progress):
        if path.exists() and (progress.step >= STEPS // 8 or name in ("lm", "lbfgs")):
            os.kill(os.getpid(), signal.SIGKILL)
    fit(**arguments(name), callbacks=[kill], checkpoint=path)

children = {}
for name in sys.argv[1:]:
    if (child := os.fork()) == 0:
        run(name)
        os._exit(0)
    children[name] = child
signals = {name: os.WTERMSIG(os.waitpid(child, 0)[1]) for name, child in children.items()}
import json
print(json.dumps(signals))
"""

CONSTANTS = f"SEED, STEPS = {SEED}, {STEPS}\n"


def _arguments(name):
    scope = {}
    exec(CONSTANTS + SETUP, scope)
    return scope["arguments"](name)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """What fits left that were killed, by `kill -9`, after their first checkpoint."""
    place = tmp_path_factory.mktemp("killed")
    names = [*EXACT, "lbfgs"]
    words = [sys.executable, "-c", CONSTANTS + SETUP + KILLED, *names]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == dict.fromkeys(names, 9), done.stderr
    return place


@pytest.mark.parametrize("name", EXACT)
def test_a_killed_fit_ends_at_the_same_weights_bit_for_bit(checkpoints, name):
    """Adam, SGD, mini-batches, dropout and Levenberg-Marquardt: moments, orders and random states are saved."""
    path = checkpoints / f"{name}.checkpoint"
    came = len(np.load(path)["books:loss"])
    assert 0 < came < STEPS
    first = []
    resumed = fit(**_arguments(name), checkpoint=path, resume=True, callbacks=[lambda now: first.append(now.step)])
    plain = fit(**_arguments(name))
    assert first[0] > came
    for one, other in zip(resumed.model.weights, plain.model.weights, strict=True):
        np.testing.assert_array_equal(np.array(one), np.array(other))
    for column, values in plain.history.items():
        np.testing.assert_array_equal(resumed.history[column], values)
    assert not path.exists()


def test_a_killed_lbfgs_ends_as_well(checkpoints):
    """SciPy keeps the history of curvatures to itself: the fit goes on from the weights, and ends as low."""
    resumed = fit(**_arguments("lbfgs"), checkpoint=checkpoints / "lbfgs.checkpoint", resume=True)
    plain = fit(**_arguments("lbfgs"))
    assert resumed.steps <= STEPS
    assert resumed.loss <= 10 * plain.loss  # of 1e-9, where paths that differ by rounding end this far apart
    assert resumed.history["loss"][0] == plain.history["loss"][0]
