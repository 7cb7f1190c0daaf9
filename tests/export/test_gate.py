"""The gate: a package that is worse than the version that serves is not published, and leaves nothing behind."""

from __future__ import annotations

import math
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from gradwire import DataError, PackageError, ServerUnreachable, UsageError, load
from gradwire._cli.io import gate_table
from gradwire._package import version_directories
from gradwire_export import Gate, GateRefused, export
from gradwire_serving import EmbeddedServer, ServerOptions

pytestmark = pytest.mark.slow  # exports six packages first

X = np.linspace(0.1, 1.9, 60)
NOISE = 0.02 * np.random.default_rng(0).standard_normal(60)
ROWS = {"x": X, "f": np.log(X) + NOISE, "df_dx": 1 / X}
SPECS = {"x": tf.TensorSpec((None, 1), tf.float64)}
DOMAIN = {"x": (0.1, 1.9)}


def off(error, tilt=0.0):
    """The logarithm, off by a wave, and by a tilt that the derivative feels alone."""
    return lambda x: {"f": tf.math.log(x) + error * tf.sin(3 * x) + tilt * tf.sin(200 * x) / 200}


MODELS = {
    "serving": off(0.01),
    "better": off(0.001),
    "slightly worse": off(0.0102),
    "worse": off(0.03),
    "worse in its derivative": off(0.01, tilt=0.2),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory, run_in_one_process) -> dict[str, Path]:
    """Every model as a package."""
    place = tmp_path_factory.mktemp("packages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradwire_export._export.complete_card", lambda _, card, checks: card)
        return {
            name: export(model, to=place / name, inputs=SPECS, domain=DOMAIN, signatures=()).path
            for name, model in MODELS.items()
        }


@pytest.mark.parametrize(
    ("name", "tolerance", "worse"),
    [
        ("serving", None, []),
        ("better", None, []),
        ("slightly worse", None, ["df_dx"]),  # two per cent; of f, with its noise, it is a fifth of one
        ("worse", None, ["f", "df_dx"]),
        ("worse in its derivative", None, ["df_dx"]),
        ("slightly worse", 1.05, []),
        ("slightly worse", {"df_dx": 1.03}, []),
        ("slightly worse", {"f": 1.0}, ["f", "df_dx"]),
        ("worse", 3.1, []),
        ("worse", {"f": 1.6}, ["df_dx"]),
        ("better", {"f": 0.5}, ["f"]),
    ],
)
def test_what_is_worse_is_refused_by_name(packages, name, tolerance, worse):
    """By default what the rows can tell apart; else what is allowed, for all tensors or by name."""
    gate = Gate(rows=ROWS, tolerance=tolerance)
    if not worse:
        verdict = gate.judge(packages[name], packages["serving"].parent)
        assert (verdict.passed, verdict.forced, verdict.rows) == (True, None, 60)
        return
    with pytest.raises(GateRefused, match="nothing was published") as refused:
        gate.judge(packages[name], packages["serving"].parent)
    verdict = refused.value.verdict
    assert [tensor for tensor, each in verdict.tensors.items() if not each.passed] == worse
    assert refused.value.exit_code == 1
    assert pickle.loads(pickle.dumps(refused.value)).verdict.to_dict() == verdict.to_dict()


def test_the_verdict_has_the_errors_of_both(packages):
    """As in the closed form, and as the card and the terminal show it."""
    verdict = Gate(rows=ROWS, force="new wind tunnel").judge(packages["worse"], packages["serving"].parent)
    wave = np.sin(3 * X)
    old, new = (math.sqrt(np.mean((error * wave - NOISE) ** 2)) for error in (0.01, 0.03))
    f = verdict.tensors["f"]
    assert (f.old, f.new, f.ratio, f.labels) == pytest.approx((old, new, new / old, 60))
    assert 1 < f.allowed < f.ratio
    assert verdict.tensors["df_dx"].ratio == pytest.approx(3.0)
    assert (verdict.passed, verdict.forced, verdict.baseline["version"]) == (False, "new wind tunnel", "1")
    table = gate_table(verdict.to_dict())
    assert [row[-1] for row in table.rows] == ["WORSE", "WORSE"]
    assert table.note == "published all the same: new wind tunnel"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"rows": "nowhere.csv"}, DataError, "no such file"),
        ({"rows": ROWS, "tolerance": 0.0}, UsageError, "largest ratio"),
        ({"rows": ROWS, "tolerance": {"f": math.nan}}, UsageError, "largest ratio"),
        ({"rows": ROWS, "force": "  "}, UsageError, "force is empty"),
        ({"rows": ROWS, "tolerance": {"g": 1.1}}, UsageError, "a tensor that has labels: f, df_dx"),
        ({"rows": {"x": X}}, DataError, "no labels"),
        ({"rows": {"x": X, "f": np.full(60, np.nan)}}, DataError, "no label that tells"),
        ({"rows": ROWS, "against": 7}, UsageError, "compares with '7', and there is no directory"),
        ({"rows": ROWS, "against": "nowhere"}, UsageError, "HOST:PORT/LABEL"),
    ],
)
def test_gates_that_cannot_judge_are_refused(packages, options, error, words):
    """Before or at the gate, by what is wrong."""
    with pytest.raises(error, match=words):
        Gate(**options).judge(packages["better"], packages["serving"].parent)


@pytest.mark.parametrize(
    ("against", "error", "words"),
    [
        (7, UsageError, "there is no directory"),
        ("nowhere", UsageError, "HOST:PORT/LABEL"),
        ("localhost:1", ServerUnreachable, "localhost:1"),
    ],
)
def test_a_wrong_place_is_refused_before_anything_is_exported(tmp_path, against, error, words):
    """Not even the source is read, which is none."""
    gate = Gate(rows=ROWS, against=against)
    with pytest.raises(error, match=words):
        export(tmp_path / "nowhere.keras", to=tmp_path / "log", gate=gate)


def test_a_prediction_that_is_not_finite_is_worse(packages, tmp_path):
    """Where the version that serves has one; whatever the tolerance."""
    rows = {"x": np.append(X, -1.0), "f": np.append(ROWS["f"], 0.0)}
    with pytest.raises(GateRefused, match="f is not finite at 1 labels where it was"):
        Gate(rows=rows, tolerance=100.0).judge(packages["better"], _of_all_x(tmp_path))


def _of_all_x(place: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradwire_export._export.complete_card", lambda _, card, checks: card)
        made = export(lambda x: {"f": x - 1}, to=place / "all", inputs=SPECS, domain=DOMAIN, signatures=())
    return made.path.parent


@pytest.mark.usefixtures("run_in_one_process", "without_card_checks")
def test_a_refused_package_leaves_nothing_where_a_server_looks(packages, tmp_path, monkeypatch):
    """While the gate judges, and after it refused, only the old version has a number; a forced one has its reason."""
    base = tmp_path / "models" / "log"
    shutil.copytree(packages["serving"], base / "1")
    seen: list[set[int]] = []
    judge = Gate.judge

    def watched(self, new, to):
        seen.append(set(version_directories(base)))
        assert to == base
        return judge(self, new, to)

    monkeypatch.setattr(Gate, "judge", watched)
    options = {"to": base, "inputs": SPECS, "domain": DOMAIN, "signatures": ()}
    with pytest.raises(GateRefused):
        export(MODELS["worse"], gate=Gate(rows=ROWS), **options)
    assert sorted(path.name for path in base.iterdir()) == ["1"]
    exported = export(MODELS["worse"], gate=Gate(rows=ROWS, force="a reason"), **options)
    assert seen == [{1}, {1}]
    assert (exported.path, exported.verdict.forced) == (base / "2", "a reason")
    with load(base) as model:
        entry = model.card.checks["gate"]
    assert (entry["passed"], entry["forced"], entry["baseline"]["version"]) == (False, "a reason", "1")
    assert entry["tensors"]["df_dx"]["ratio"] == pytest.approx(3.0)


def test_the_first_version_has_nothing_to_be_worse_than(packages, tmp_path):
    """Its errors are recorded."""
    verdict = Gate(rows=ROWS).judge(packages["worse"], tmp_path / "none")
    assert verdict.passed
    assert [(each.old, each.ratio) for each in verdict.tensors.values()] == [(None, None)] * 2
    assert verdict.tensors["df_dx"].new > 0
    assert "no version to compare with" in gate_table(verdict.to_dict()).title


def test_a_version_that_cannot_be_loaded_is_told(packages, tmp_path):
    """It is not passed over."""
    shutil.copytree(packages["serving"], tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(PackageError):
        Gate(rows=ROWS).judge(packages["better"], tmp_path)


@pytest.mark.parametrize(
    ("against", "passed", "which"),
    [
        (None, False, "2, the latest of {base}"),
        (1, True, "1, chosen from {base}"),
        ("{base}/1", True, "1, of {base}/1"),
        ("{address}", False, "2, which {address} serves"),
        ("{address}/stable", True, "1, which {address}/stable serves"),
    ],
)
def test_the_version_to_compare_with_is_the_latest_or_the_one_that_is_named(served, packages, against, passed, which):
    """By number, by directory, or as a server has it: version 1 is no better than the new one, 2 is. It is told."""
    base, address = served
    places = {"base": base, "address": address}
    gate = Gate(rows=ROWS, force="to see", against=against.format(**places) if isinstance(against, str) else against)
    verdict = gate.judge(packages["serving"], base)
    assert verdict.passed == passed
    assert gate_table(verdict.to_dict()).title.endswith(f"beside version {which.format(**places)}")


@pytest.fixture(scope="module")
def served(packages, tmp_path_factory):
    """A model with two versions, the first of which is labelled stable, and the address of a server of it."""
    base = tmp_path_factory.mktemp("models") / "log"
    for number, name in (("1", "serving"), ("2", "better")):
        shutil.copytree(packages[name], base / number)
    config = base.parent / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "log" base_path: "{base}" model_platform: "tensorflow" '
        'model_version_policy { all {} } version_labels { key: "stable" value: 1 } } }'
    )
    server = EmbeddedServer(
        ServerOptions(model_config_file=str(config), allow_version_labels_for_unavailable_models=True, port=0)
    )
    server.start()
    yield base, f"localhost:{server.port}"
    server.stop(grace=0)
