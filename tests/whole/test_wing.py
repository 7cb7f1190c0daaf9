"""The page about the loop, run as it stands: 300 runs, 50 new ones, a better version, a worse one, and back."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.export.worker import started

import gradwire
from gradwire._cli.main import main
from gradwire._package import version_directories
from gradwire_export._checks import model_check
from gradwire_serving import EmbeddedServer, ServerOptions

pytestmark = pytest.mark.slow  # three fits and three exports, in one process

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
WAIT = 60  # seconds for a server to see a new version; it takes one


def truth(mach, alpha, re_):
    """The closed form behind the runs: lift, drag and moment."""
    b = np.sqrt(1 - 0.9 * np.minimum(mach, 0.86) ** 2)
    s = 1 / (1 + np.exp((alpha - 11 + 4 * (mach - 0.3)) / 1.2))
    cl = (0.11 * alpha / b + 0.25) * s + 0.75 * (1 - s)
    cd = 0.0065 * (3e6 / re_) ** 0.15 + 0.0075 * cl**2 + 0.18 * (1 - s) * np.sin(np.radians(np.maximum(alpha, 0)))
    cd += 0.35 * np.maximum(mach - 0.72 + 0.03 * cl, 0) ** 2
    return cl, cd, -0.05 - 0.012 * cl * mach**2 - 0.03 * (1 - s)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with the runs; exports are checked in one process instead of a fresh one each."""
    for file in (ROOT / "tests/cases/wing").glob("*.csv"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    with started() as worker:
        monkeypatch.setattr(model_check, "run_fresh", worker)
        yield tmp_path


class Page:
    """The blocks of the page, run one after the other."""

    def __init__(self, monkeypatch, capsys) -> None:
        text = (ROOT / "docs" / "wing.md").read_text()
        self.blocks = [(language, block) for language, block in FENCE.findall(text) if language in ("bash", "python")]
        self.address = ""
        self._patch, self._capsys = monkeypatch, capsys

    def run(self) -> str:
        """Run the next block; return what its commands print."""
        language, block = self.blocks.pop(0)
        if language == "python":
            with contextlib.redirect_stdout(sys.stdout):
                exec(compile(block, "wing.md", "exec"), {})
            return self._capsys.readouterr().out
        return "".join(self._line(line) for line in block.strip().splitlines())

    def _line(self, line: str) -> str:
        fails, words = line.startswith("! "), line.removeprefix("! ").split()
        if words[0] != "gradwire":
            subprocess.run(["bash", "-c", line], check=True)
            return ""
        to = words[words.index(">") + 1] if ">" in words else None
        words = words[: words.index(">")] if to else words
        self._patch.setattr(sys, "argv", [word.replace("localhost:8500", self.address) for word in words])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        printed = self._capsys.readouterr()
        assert code == (1 if fails else 0), printed.out + printed.err
        if to:
            Path(to).write_text(printed.out)
        return printed.out + printed.err


def serving(address) -> int:
    """The version that answers."""
    with gradwire.connect(address, "wing") as model:
        return next(version for version, state, _ in model.status() if state == "AVAILABLE")


def wait_for(address, version) -> None:
    """Wait until a version answers."""
    end = time.monotonic() + WAIT
    while serving(address) != version and time.monotonic() < end:
        time.sleep(0.1)
    assert serving(address) == version


def error(address) -> float:
    """The rmse of the lift against the truth, in the corner of the new runs."""
    rng = np.random.default_rng(0)
    mach, alpha, re_ = rng.uniform(0.7, 0.8, 400), rng.uniform(6, 12, 400), rng.uniform(5e6, 1e7, 400)
    with gradwire.connect(address, "wing") as model:
        values = model.value(mach=mach, alpha=alpha, re=re_)
    return float(np.sqrt(np.mean((values["cl"] - truth(mach, alpha, re_)[0]) ** 2)))


def test_the_page_about_the_loop_runs(place, monkeypatch, capsys):
    """Each command as it stands, beside a server that sees versions 1 and 2, never the refused, and 1 again."""
    page, models = Page(monkeypatch, capsys), place / "models" / "wing"
    assert "no version to compare with" in page.run()
    server = EmbeddedServer(ServerOptions(directory=place / "models", port=0))
    server.start()
    try:
        page.address = address = f"127.0.0.1:{server.port}"
        wait_for(address, 1)
        before = error(address)

        assert "rows outside of the domain" in page.run()
        measured = {each["name"]: each for each in json.loads(Path("errors.json").read_text())["tensors"]}
        assert 10 < measured["cl"]["outside"]["labels"] < 20
        assert measured["cl"]["outside"]["rmse"] > 2 * measured["cl"]["inside"]["rmse"]

        told = page.run()
        assert "they are those of models/wing/1" in told
        assert "models/wing/1 before, and this fit, on the same rows" in told
        assert float(page.run().split()[0]) > 0  # the Python block

        assert "70 rows of holdout.csv, beside version 1" in page.run()
        wait_for(address, 2)
        assert error(address) < 0.7 * before
        with gradwire.connect(address, "wing") as model:
            card = model.card
        assert card.trained["origin"]["source"] == "models/wing/1"
        assert card.checks["gate"]["passed"]
        assert card.checks["gate"]["tensors"]["cl"]["ratio"] < 1

        assert "WORSE" in page.run()
        assert set(version_directories(models)) == {1, 2}
        assert sorted(path.name for path in models.iterdir()) == ["1", "2"]
        assert serving(address) == 2

        page.run()
        wait_for(address, 1)
        assert error(address) == before
        assert page.blocks == []
    finally:
        server.stop(grace=0)
