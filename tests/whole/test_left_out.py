"""`gradwire export` of a model of which something cannot be proved."""

import json

import keras
import pytest


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model whose second derivatives are not those of its values: a square of x - stop_gradient(x) has none."""
    x = keras.Input((1,), name="x")
    away = x - keras.ops.stop_gradient(x)
    path = tmp_path_factory.mktemp("source") / "net.keras"
    keras.Model(x, keras.ops.sin(3 * x) + away * away).save(path)
    return path


@pytest.mark.slow
def test_what_is_not_proved_is_left_out_with_exit_code_1(source, gradwire_here, tmp_path):
    """The package is written without it, the path is printed, and the message names it and both ways out."""
    done = gradwire_here("export", str(source), "--to", "models/net", cwd=tmp_path, expect=1)
    assert done.stdout.strip() == "models/net/1"
    assert "written without hvp, hessian, whose proof failed" in done.stderr
    assert "--signatures" in done.stderr
    assert "--keep-unproven" in done.stderr
    card = json.loads((tmp_path / "models/net/1/assets/card.json").read_text())
    assert card["signatures"] == ["serving_default", "value", "jvp", "vjp", "card"]
    assert set(card["checks"]["left_out"]) == {"hvp", "hessian"}
    kept = gradwire_here("export", str(source), "--to", "models/kept", "--keep-unproven", cwd=tmp_path)
    assert "kept hvp, which is not proved" in kept.stderr
    assert "hvp" in json.loads((tmp_path / "models/kept/1/assets/card.json").read_text())["signatures"]
    gradwire_here("export", str(source), "--to", "models/some", "--signatures", "jvp", cwd=tmp_path)
