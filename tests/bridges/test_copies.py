"""Bridges go where other objects go: pickles, copies, worker processes, compiled programs, and arrays in bfloat16."""

from __future__ import annotations

import copy
import importlib
import io
import pickle
import subprocess
import sys

import numpy as np
import pytest

import gradwire
import gradwire.openmdao
import gradwire.scipy

FRAMEWORKS = ("torch", "jax", "tensorflow")


@pytest.fixture
def curved(address):
    """A model on a server, which a pickle can find again."""
    with gradwire.connect(address, "curved") as model:
        yield model


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_function_is_pickled_and_copied_as_its_model(curved, point, framework):
    """The copy is another function of the same model, with the same name and values."""
    pytest.importorskip(framework, reason="the environment of the bridges has it")
    f = importlib.import_module(f"gradwire.{framework}").wrap(curved)
    expected = np.asarray(f(*point))
    for other in (pickle.loads(pickle.dumps(f)), copy.deepcopy(f)):
        assert other is not f
        assert other.__name__ == "curved"
        np.testing.assert_array_equal(np.asarray(other(*point)), expected)


def test_a_component_is_pickled_and_copied_as_its_model(curved, tmp_path, monkeypatch):
    """With the number of its rows."""
    monkeypatch.chdir(tmp_path)  # OpenMDAO writes reports
    component = gradwire.openmdao.Component(curved, rows=3)
    for other in (pickle.loads(pickle.dumps(component)), copy.deepcopy(component)):
        problem = importlib.import_module("openmdao.api").Problem()
        problem.model.add_subsystem("c", other, promotes=["*"])
        problem.setup()
        problem.set_val("x", np.full((3, 3), 0.5))
        problem.run_model()
        assert problem.get_val("f").shape == (3, 1)


WORKERS = """
import sys
import numpy as np
import torch
import gradwire.torch

class Rows:
    def __init__(self, f):
        self.f = f
    def __len__(self):
        return 6
    def __getitem__(self, index):
        return self.f(np.full(3, index / 10), np.array(1.5))

f = gradwire.torch.wrap(gradwire.connect(sys.argv[1], "curved"))
loader = torch.utils.data.DataLoader(Rows(f), batch_size=2, num_workers=2)
labels = torch.cat([batch.reshape(-1) for batch in loader])
assert labels.tolist() == [float(Rows(f)[index]) for index in range(6)]
"""


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_computes_with_it(curved, backend):
    """A model's method and SciPy's function, in two processes and in two threads; loky's start afresh."""
    joblib = pytest.importorskip("joblib")
    f = gradwire.scipy.wrap(curved, t=1.5)
    points = np.linspace(-1, 1, 12).reshape(4, 3)
    with joblib.parallel_config(backend, n_jobs=2):
        slopes = joblib.Parallel()(joblib.delayed(f.jac)(x) for x in points)
        values = joblib.Parallel()(joblib.delayed(curved.value)(x, t=1.5) for x in points)
    np.testing.assert_array_equal(slopes, [f.jac(x) for x in points])
    assert [float(value["f"]) for value in values] == [f.fun(x) for x in points]
    if backend == "loky":
        joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


def test_torch_saves_it(curved):
    """`torch.save` and `torch.load`."""
    torch = pytest.importorskip("torch", reason="the environment of the bridges has it")
    f = importlib.import_module("gradwire.torch").wrap(curved)
    file = io.BytesIO()
    torch.save(f, file)
    file.seek(0)
    x = np.full(3, 0.3), np.array(1.5)
    assert torch.load(file, weights_only=False)(*x) == f(*x)


def test_the_workers_of_a_data_loader_have_it(address):
    """They are forked; in a process of their own, for here a server and JAX have threads."""
    pytest.importorskip("torch", reason="the environment of the bridges has it")
    done = subprocess.run(
        [sys.executable, "-c", WORKERS, address], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_compiled_torch_program_is_the_same_program(curved, point):
    """Value and gradient are those of the program as it was written."""
    torch = pytest.importorskip("torch", reason="the environment of the bridges has it")
    f = importlib.import_module("gradwire.torch").wrap(curved)

    def program(x, t):
        return 2 * f(3 * x, t) + x.sum()

    results = []
    for run in (program, torch.compile(program, backend="eager")):
        x, t = (torch.tensor(part, requires_grad=True) for part in point)
        value = run(x, t)
        value.backward()
        results.append((value.detach(), x.grad, t.grad))
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=0, atol=0)


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_bfloat16_loses_nothing(curved, framework):
    """It is read as the float32 that it is."""
    numpy = importlib.import_module({"torch": "torch", "jax": "jax.numpy"}[framework])
    f = importlib.import_module(f"gradwire.{framework}").wrap(curved)
    as_array = numpy.tensor if framework == "torch" else numpy.array
    x, t = as_array([0.5, -0.75, 0.25], dtype=numpy.bfloat16), as_array(1.5, dtype=numpy.bfloat16)
    assert float(f(x, t)) == pytest.approx(float(curved.value([0.5, -0.75, 0.25], 1.5)["f"]), rel=1e-6)
