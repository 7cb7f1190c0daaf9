"""The package as it is imported."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

import gradwire


def run(code: str) -> str:
    """What a fresh process prints; warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_import_is_light():
    """`import gradwire` loads no framework, and nothing that only the command needs."""
    heavy = "('tensorflow', 'keras', 'scipy', 'pyarrow', 'matplotlib', 'typer', 'rich', 'gradwire_serving')"
    assert (
        run(f"import sys, gradwire, gradwire.aio; print([name for name in {heavy} if name in sys.modules])") == "[]\n"
    )


def test_import_takes_little_memory():
    """A process that has imported the client holds at most 60 MB."""
    code = (
        "import re, gradwire, gradwire.aio; print(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    assert int(run(code)) <= 60 * 1024


def test_all_is_complete():
    """`__all__` names every public thing of the package once, and each of them exists (ruff keeps it sorted)."""
    from types import ModuleType

    public = {name for name, value in vars(gradwire).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    late = {name for names in gradwire._CHECKS.values() for name in names}
    typing = {"annotations", "Any", "Final", "TYPE_CHECKING"}
    assert (public - typing) | late == set(gradwire.__all__) - {"__version__"}
    assert len(gradwire.__all__) == len(set(gradwire.__all__))
    assert all(hasattr(gradwire, name) for name in gradwire.__all__)


def test_every_error_is_public():
    """Whatever Gradwire raises on purpose can be caught by a public name."""
    from gradwire import _errors

    errors = {name for name, value in vars(_errors).items() if isinstance(value, type) and name[0] != "_"}
    assert errors <= set(gradwire.__all__) | {"ClassVar"}


def test_version():
    """The version is the distribution's; other names that are not there are told as Python does."""
    from importlib.metadata import version

    assert gradwire.__version__ == version("gradwire")
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        gradwire.nope  # noqa: B018 - the access is the test


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("tensorflow"), reason="the client alone is tested where there is no TensorFlow")
@pytest.mark.parametrize(
    "order",
    [
        "import gradwire; import tensorflow as tf; from tensorflow_serving.apis import predict_pb2",
        "import tensorflow as tf; from tensorflow_serving.apis import predict_pb2; import gradwire",
    ],
)
def test_lives_beside_tensorflow(order: str):
    """The client's descriptors and TensorFlow's work in one process, whichever is imported first."""
    code = f"""
import os; os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import warnings; warnings.simplefilter("default")  # TensorFlow's own
{order}
import numpy as np
from gradwire._wire import proto
from gradwire._wire import tensor
ours = proto.PredictRequest(output_filter=["f"])
ours.model_spec.name = "log"
tensor.encode(np.array([[1.5]]), "float64", ours.inputs["x"])
theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
print(theirs.model_spec.name, list(theirs.output_filter), tf.make_ndarray(theirs.inputs["x"]))
"""
    assert run(code) == "log ['f'] [[1.5]]\n"
