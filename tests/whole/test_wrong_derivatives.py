"""A package whose derivatives are wrong is found out by `gradwire verify`, wherever it runs."""

import pytest

from gradwire_export import _export, _signatures, export


@pytest.fixture(scope="module")
def scaled(workplace, tmp_path_factory):
    """The trained logarithm with df_dx 1% too large, written past the checks that would have stopped it."""
    right, base = _signatures.value_and_gradients, tmp_path_factory.mktemp("scaled")

    def wrong(function, tensors, zeros):
        values, gradients = right(function, tensors, zeros)
        return values, {"f": {"x": gradients["f"]["x"] * 1.01}}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_signatures, "value_and_gradients", wrong)
        patch.setattr(_export, "check_package", lambda *_, **__: {})
        exported = export(workplace / "build/log", to=base / "models/log")
    assert not exported.card.checks["taylor"]["passed"]
    return base


@pytest.mark.parametrize("where", ["directory", "address"])
def test_verify_fails_on_a_scaled_derivative(scaled, gradwire, serve, where):
    """The exit code is 1, and the line names the tensor."""
    if where == "directory":
        done = gradwire("verify", "models/log", cwd=scaled, expect=1)
    else:
        with serve("models", cwd=scaled) as server:
            done = gradwire("verify", server.address, "log", cwd=scaled, expect=1)
    assert "WRONG" in done.stdout
    assert "df_dx: not the derivative of the values" in done.stderr
