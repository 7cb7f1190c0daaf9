"""Tables of points for people: rounded by the dtype, within the width of the terminal; CSV and JSON round-trip."""

from __future__ import annotations

import csv
import io
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gradwire._cli.choices import Format
from gradwire._cli.commands import export
from gradwire._cli.io import points_table, printer, printers

WIDTH = 80


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch):
    """Draws points as a terminal of 80 columns would; returns the lines."""
    console = Console(width=WIDTH, file=io.StringIO(), highlight=False)
    monkeypatch.setattr(printers, "out", console)

    def draw(arrays: dict[str, Any]) -> list[str]:
        console.print(points_table(arrays))
        return console.file.getvalue().splitlines()

    return draw


def _cells(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def test_digits_follow_the_dtype(show):
    """Six of a float32, nine of a float64; integers are whole."""
    third = {"a": np.full(1, 1 / 3, np.float32), "b": np.full(1, 1 / 3), "n": np.array([123456789])}
    assert _cells(show(third)) == [["0.333333", "0.333333333", "123456789"]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("points", [1, 3, 40])
@pytest.mark.parametrize("tensors", [3, 9, 25])
def test_no_cell_is_folded_at_80_columns(show, dtype, points, tensors):
    """Points as rows, or as columns, or several tables: each number stands once, whole, on a line that fits."""
    generator = np.random.default_rng(0)
    arrays = {f"d2price_dspot_d{i}": generator.normal(size=points).astype(dtype) for i in range(tensors)}
    lines = show(arrays)
    assert max(map(len, lines)) <= WIDTH
    shown = [cell for row in _cells(lines) for cell in row]
    digits = 6 if dtype is np.float32 else 9
    for name, array in arrays.items():
        assert any(name in line for line in lines)
        for value in array:
            assert shown.count(f"{value:.{digits}g}") == 1


def test_rows_of_several_elements_break_between_them(show):
    """A long vector and a matrix stay within the width, and no number is torn apart."""
    arrays = {"x": np.arange(48.0).reshape(4, 12) / 7, "h": np.ones((4, 3, 3)) / 3}
    lines = show(arrays)
    assert max(map(len, lines)) <= WIDTH
    assert sum(line.count("0.333333333") for line in lines) == 4 * 9


@pytest.mark.parametrize("form", [Format.CSV, Format.JSON, Format.JSONL])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_csv_and_json_hold_every_digit(form, dtype, capsys):
    """What is printed rounds to the very numbers."""
    numbers = np.random.default_rng(1).normal(size=5).astype(dtype)
    shown = printer(form)
    shown.block({"f": numbers})
    shown.end()
    text = capsys.readouterr().out
    match form:
        case Format.CSV:
            found = [row["f"] for row in csv.DictReader(io.StringIO(text))]
        case Format.JSON:
            found = json.loads(text)["f"]
        case _:
            found = [json.loads(line)["f"] for line in text.splitlines()]
    np.testing.assert_array_equal(np.array(found, dtype), numbers)


@pytest.mark.parametrize(
    ("signatures", "left_out", "asked", "is_said"),
    [
        (("value", "jvp", "vjp", "hvp"), {}, None, True),
        (("value", "jvp", "vjp", "hvp", "hessian"), {}, None, False),
        (("value", "jvp", "vjp", "hvp"), {}, "jvp,vjp,hvp", False),
        (("value", "jvp", "vjp"), {}, None, False),  # TensorFlow has no second derivatives: a warning says so
    ],
)
def test_export_says_that_the_hessian_is_left_out(monkeypatch, capsys, tmp_path, signatures, left_out, asked, is_said):
    """In a line, with how to ask for it."""
    card = SimpleNamespace(signatures=signatures, checks={}, trained={})
    exported = SimpleNamespace(card=card, left_out=left_out, path=tmp_path, verdict=None)
    package = SimpleNamespace(
        DerivativeWarning=UserWarning,
        Gate=SimpleNamespace,
        GateRefused=KeyError,
        export=lambda *arguments, **options: exported,
    )
    monkeypatch.setattr(export, "import_heavy", lambda name: package)
    monkeypatch.setattr(export, "_show_checks", lambda checks: None)
    export.command(tmp_path, tmp_path, signatures=asked)
    line = "hessian is left out: there are more than 16 input elements; --signatures jvp,vjp,hvp,hessian adds it"
    assert (line in capsys.readouterr().err) == is_said
