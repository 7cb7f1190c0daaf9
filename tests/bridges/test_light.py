"""The bridges cost nothing until they are used, and say what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gradwire
import gradwire.casadi
import gradwire.jax
import gradwire.openmdao
import gradwire.pytensor
import gradwire.tensorflow
import gradwire.torch
import gradwire.umbridge

WAYS = {
    "jax": ("jax", gradwire.jax.wrap),
    "torch": ("torch", gradwire.torch.wrap),
    "tensorflow": ("tensorflow", gradwire.tensorflow.wrap),
    "openmdao": ("openmdao.api", gradwire.openmdao.Component),
    "umbridge": ("umbridge.um", gradwire.umbridge.serve),
    "pytensor": ("pytensor.tensor", gradwire.pytensor.wrap),
    "casadi": ("casadi", lambda model: gradwire.casadi.wrap(model, k=1.0)),
}


def test_importing_every_bridge_imports_no_framework():
    """Each bridge's module is light; the framework comes when it is used."""
    code = (
        "import sys, gradwire.scipy, gradwire.jax, gradwire.torch, gradwire.tensorflow, gradwire.openmdao, gradwire.umbridge;"
        "import gradwire.pytensor, gradwire.casadi;"
        "heavy = {'scipy', 'jax', 'torch', 'tensorflow', 'openmdao', 'umbridge', 'aiohttp', 'pytensor', 'casadi'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_calculator_names_what_it_lacks():
    """gradwire.ase holds a subclass of ASE's, so that it needs ASE when it is imported."""
    code = "import sys; sys.modules['ase'] = None\ntry: import gradwire.ase\nexcept Exception as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert "pip install 'gradwire[ase]'" in done.stdout


@pytest.mark.parametrize("name", WAYS)
def test_a_missing_framework_is_named(monkeypatch, with_parameter, name):
    """Without the framework, the message names the extra that brings it."""
    module, use = WAYS[name]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(gradwire.MissingExtra, match=rf"gradwire\[{name}\]"):
        use(with_parameter)
