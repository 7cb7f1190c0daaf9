"""The package's own list of what it offers."""

from __future__ import annotations

import pytest

import gradwire_training
from gradwire_training import optimizers, problems


@pytest.mark.parametrize("package", [gradwire_training, optimizers, problems])
def test_all_is_sorted_and_complete(package):
    """``__all__`` is sorted, as the linter sorts, and everything in it is there."""
    ordered = sorted(package.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
    assert package.__all__ == ordered
    assert all(name in vars(package) for name in package.__all__)
