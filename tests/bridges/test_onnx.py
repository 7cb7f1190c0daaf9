"""An ONNX file of a package: written, loaded, verified; damaged, foreign and hostile files; what is refused."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tests.export.worker import started

import gradwire
from gradwire import _errors
from gradwire._cli.commands import convert as command
from gradwire._package import ONNX_CARD, ONNX_DIGEST, ONNX_DOMAIN, onnx_digest
from gradwire._transports.onnx import BLOCK
from gradwire_export import _export, convert, export
from gradwire_export._checks import model_check

onnx = pytest.importorskip("onnx", reason="ONNX is in the environment of the bridges")
onnxruntime = pytest.importorskip("onnxruntime")

agreement = import_module("gradwire_export._conversion.agreement")  # its folder's name for it is the function

SCALAR = tf.TensorSpec((None, 1), tf.float64)
X = np.array([[0.25], [0.5], [1.0], [1.75]])


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """The packages log, cube and gamma, the last two in loops without a shortcut; files of the first two."""
    root = tmp_path_factory.mktemp("packages")
    with started() as worker, pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_check, "run_fresh", worker)
        patch.setattr(agreement, "run_fresh", worker)
        export(tf.math.log, to=root / "log", inputs={"x": SCALAR}, domain={"x": (0.1, 1.9)}, units={"x": "m"})
        patch.setattr(_export, "complete_card", lambda _, card, checks: gradwire_card(card, checks))
        from gradwire_export._package import blocks

        patch.setattr(blocks, "SHORTCUT_NODES", 0)
        export(tf.math.lgamma, to=root / "gamma", inputs={"x": SCALAR}, domain={"x": (0.5, 1.5)}, signatures=[])
        export(lambda x: x**3, to=root / "cube", inputs={"x": SCALAR}, domain={"x": (-1, 1)}, signatures=["hessian"])
        convert(root / "log", to=root / "log.onnx")
        convert(root / "cube", to=root / "cube.onnx", graph="hessian")
    return root


def gradwire_card(card, checks):
    """A card that was not completed: no reference, no verification, no digest."""
    from dataclasses import replace

    return replace(card, checks=checks)


@pytest.fixture
def model(packages):
    """The file, loaded."""
    with gradwire.load(packages / "log.onnx") as loaded:
        yield loaded


def test_onnxruntime_alone_gives_f_and_its_derivative(packages):
    """The graph takes x and returns f and df_dx by their names; ONNX's own operators suffice."""
    path = str(packages / "log.onnx")
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    f, df_dx = session.run(["f", "df_dx"], {"x": X})
    np.testing.assert_array_max_ulp(f, np.log(X), 1)
    np.testing.assert_array_max_ulp(df_dx, 1 / X, 1)
    file = onnx.load(path)
    assert {node.domain for node in file.graph.node} == {""}
    assert {function.name for function in file.functions} == {"value", "jvp", "vjp", "hvp", "hessian"}


def test_any_signature_can_be_the_graph(packages):
    """A runtime without Gradwire gets second derivatives from a file whose graph computes them; blocks stay behind."""
    session = onnxruntime.InferenceSession(str(packages / "cube.onnx"))
    assert [each.name for each in session.get_outputs()] == ["f", "df_dx", "d2f_dx2"]
    [second] = session.run(["d2f_dx2"], {"x": X})
    np.testing.assert_allclose(second[:, :, 0], 6 * X, rtol=1e-15)


def test_every_method_of_a_model_works(model):
    """They are those of log x, at many rows, at one number and at none."""
    x = X[:, 0]
    np.testing.assert_array_max_ulp(model.value(x), np.log(x), 1)
    np.testing.assert_array_max_ulp(model.grad(x), 1 / x, 1)
    np.testing.assert_allclose(model.jvp(x, 2 * x), np.full(4, 2.0), rtol=1e-15)
    np.testing.assert_allclose(model.vjp(x, x), np.ones(4), rtol=1e-15)
    np.testing.assert_allclose(np.ravel(model.hessian(x)), -1 / x**2, rtol=1e-15)
    assert model.value(1.0) == 0
    assert model.value(np.zeros(0)).shape == (0,)
    assert model.card.inputs[0].unit == "m"
    assert model.card.checks["onnx"]["ulp"]["serving_default"] == {"f": 0.0, "df_dx": 0.0}


def test_a_large_call_is_the_same_in_blocks(model):
    """Of more rows than are computed at once, and no multiple of those."""
    x = np.random.default_rng(0).uniform(0.1, 1.9, 2 * BLOCK + 1)
    np.testing.assert_array_max_ulp(model.grad(x), 1 / x, 1)


def test_a_pickled_model_loads_its_file_again(packages):
    """The transport travels as its path."""
    transport = pickle.loads(pickle.dumps(gradwire.OnnxTransport(packages / "log.onnx")))
    assert transport.signatures(timeout=1).keys() >= {"serving_default", "card"}
    transport.close()
    with pytest.raises(_errors.UsageError, match="was closed: load it again"):
        transport.signatures(timeout=1)


def test_verify_makes_the_same_checks(model):
    """Reference points, differences, signatures, rows and NaN, without TensorFlow."""
    verification = gradwire.verify(model, points=16)
    assert verification.passed, verification.failures
    assert not any(check.skipped for check in verification.checks if check.name in {"taylor", "adjoint", "reference"})


def test_a_wrong_file_fails_verify(packages, tmp_path):
    """A digest that was made anew hides a planted fault from the reader, and not from the checks."""
    file = onnx.load(packages / "log.onnx")
    [divided] = [node for node in file.graph.node if node.op_type == "Div"]
    divided.input[:] = list(divided.input)[::-1]  # df_dx is x
    with gradwire.load(saved(file, tmp_path / "wrong.onnx")) as wrong:
        assert {failure.split(":")[0] for failure in gradwire.verify(wrong, points=16).failures} >= {
            "taylor",
            "reference",
        }


def saved(file, path, card=None):
    """A file with a digest of what it now is."""
    texts = {entry.key: entry.value for entry in file.metadata_props}
    text = texts[ONNX_CARD] if card is None else card
    onnx.helper.set_model_props(file, {ONNX_CARD: text, ONNX_DIGEST: onnx_digest(file, text)})
    path.write_bytes(file.SerializeToString())
    return path


def test_a_damaged_file_is_refused(packages, tmp_path):
    """Cut off, flipped, empty, or no ONNX at all: one message each, and nothing is run."""
    whole = (packages / "log.onnx").read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"Log")] ^= 1
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "flipped": bytes(flipped),
        "empty": b"",
        "text": b"x = 1",
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(_errors.PackageError, match=r"is not an ONNX file|has no card|was changed since"):
            gradwire.load(path)
    with pytest.raises(_errors.PackageError, match="cannot read"):
        gradwire.load(tmp_path / "nowhere.onnx")


def foreign_operator(file, _):
    """An operator of somebody's own."""
    file.graph.node[0].domain = "com.example"


def external_weights(file, _):
    """A weight that lies in another file."""
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    file.graph.initializer.append(tensor)


def unknown_operator(file, _):
    """An operator that ONNX does not have."""
    file.graph.node[0].op_type = "Nonsense"


def missing_function(file, _):
    """A signature of the card is not there."""
    del file.functions[0]


def foreign_function(file, _):
    """A function with an input of another name."""
    file.functions[0].input[0] = "elsewhere"


def card_of_another(file, packages):
    """The card of another package."""
    return {entry.key: entry.value for entry in onnx.load(packages / "cube.onnx").metadata_props}[ONNX_CARD]


def no_card(file, _):
    """A card that is none."""
    return "[]"


HOSTILE = {
    foreign_operator: r"has operators of \['com.example'\]",
    external_weights: "keeps weights in other files",
    unknown_operator: "is not a valid ONNX file",
    missing_function: "belongs to another file: this has signatures",
    foreign_function: "belongs to another file: this has inputs",
    card_of_another: "belongs to another file",
    no_card: "not a package's card",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_a_hostile_file_is_refused(packages, tmp_path, change):
    """Even with a digest that fits: it needs nothing outside, and the card is its own."""
    file = onnx.load(packages / "log.onnx")
    card = change(file, packages)
    with pytest.raises(_errors.PackageError, match=HOSTILE[change]):
        gradwire.load(saved(file, tmp_path / "hostile.onnx", card))


def test_a_card_in_another_file_is_refused(packages, tmp_path):
    """The digest is over the card, too."""
    file = onnx.load(packages / "log.onnx")
    text = {entry.key: entry.value for entry in file.metadata_props}[ONNX_CARD]
    digest = {entry.key: entry.value for entry in file.metadata_props}[ONNX_DIGEST]
    onnx.helper.set_model_props(file, {ONNX_CARD: text.replace('"m"', '"km"'), ONNX_DIGEST: digest})
    path = tmp_path / "other.onnx"
    path.write_bytes(file.SerializeToString())
    with pytest.raises(_errors.PackageError, match="its card is another file's"):
        gradwire.load(path)


def test_what_cannot_be_converted_is_refused_and_nothing_is_written(packages, tmp_path):
    """An operation by its name, an unknown signature, an unknown suffix."""
    with pytest.raises(_errors.ConversionError, match=r"gamma.*it has .*Lgamma \(no ONNX form"):
        convert(packages / "gamma", to=tmp_path / "gamma.onnx")
    with pytest.raises(_errors.UsageError, match="no signature 'jvp' to convert, expected some of"):
        convert(packages / "cube", to=tmp_path / "cube.onnx", signatures=["jvp"])
    with pytest.raises(_errors.UsageError, match=r"has the suffix '.tflite', expected one of .onnx"):
        convert(packages / "log", to=tmp_path / "log.tflite")
    assert not list(tmp_path.iterdir())


def test_a_wrong_conversion_is_not_written(packages, tmp_path, monkeypatch):
    """The package itself is the judge: a planted fault in an operation stops the file."""
    from gradwire_export._onnx import graph

    monkeypatch.setitem(graph.OPERATIONS, "Log", lambda op: op.emit.add("Exp", op.x(0)))
    with started() as worker:
        monkeypatch.setattr(agreement, "run_fresh", worker)
        with pytest.raises(_errors.CheckFailed, match=r"'f' of serving_default in ONNX differs from the package"):
            convert(packages / "log", to=tmp_path / "log.onnx")
    assert not list(tmp_path.iterdir())


def test_the_command_shows_the_agreement(packages, tmp_path, monkeypatch, capsys):
    """A row a signature; the file's name goes to standard output."""
    with started() as worker:
        monkeypatch.setattr(agreement, "run_fresh", worker)
        command.command(packages / "cube", to=tmp_path / "cube.onnx", signatures="hessian", graph="value")
    shown = capsys.readouterr().out
    assert "cube.onnx" in shown
    assert "serving_default" in shown


def test_loading_a_file_needs_no_tensorflow(packages):
    """A program that only runs the file has onnx and onnxruntime; the missing one is named."""
    code = (
        "import sys, gradwire; sys.modules['tensorflow'] = None\n"
        f"print(gradwire.load({str(packages / 'log.onnx')!r}).value(1.0))\n"
        "sys.modules['onnxruntime'] = None\n"
        f"try: gradwire.load({str(packages / 'log.onnx')!r})\nexcept gradwire.MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.startswith("0.0\n")
    assert "pip install 'gradwire[onnx]'" in done.stdout


def test_functions_are_of_the_domain_that_the_documentation_names(packages):
    """docs/onnx.md shows how to take one out."""
    assert {function.domain for function in onnx.load(packages / "log.onnx").functions} == {ONNX_DOMAIN}


def test_the_page_runs(packages, monkeypatch):
    """The Python blocks of docs/onnx.md, in order, beside the file that its first command writes."""
    text = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text()
    monkeypatch.chdir(packages)
    exec("\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)), {})


def test_the_commands_of_the_page_are_commands():
    """Each line of its shell blocks names options that the commands have."""
    text = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text()
    lines = "".join(re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).splitlines()
    options = {name.replace("_", "-") for name in inspect.signature(command.command).parameters}
    for line in lines:
        assert {word[2:] for word in line.split() if word.startswith("--")} <= options
