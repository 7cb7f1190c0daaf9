"""The options of `gradwire export`: each reaches `gradwire_export.export` as what it means."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gradwire._cli.commands import export as command
from gradwire._cli.main import main
from gradwire._errors import CheckFailed

DEFAULTS: dict[str, Any] = {
    "to": Path("models/m"),
    "wrt": None,
    "inputs": None,
    "outputs": None,
    "signatures": None,
    "solve": [],
    "zeros": [],
    "derivatives": None,
    "serve_aliases": False,
    "domain": {},
    "units": {},
    "signature": None,
    "tags": None,
    "shapes": {},
    "compile": None,
    "unsafe_lambda": False,
    "replace_contract": False,
    "keep_unproven": False,
    "nan_guard": False,
    "gate": None,
}


def gate(**arguments: Any) -> dict[str, Any]:
    """The arguments of a gate on rows.csv."""
    defaults = {"rows": Path("rows.csv"), "tolerance": None, "against": None, "columns": {}, "force": None}
    return {"gate": defaults | arguments}


# words on the command line: the arguments that differ from the defaults
OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "--wrt spot,vol": {"wrt": ["spot", "vol"]},
    "--inputs t,x": {"inputs": ["t", "x"]},
    "--inputs spot=x,t": {"inputs": {"spot": "x", "t": "t"}},
    "--outputs price=f": {"outputs": {"price": "f"}},
    "--signatures jvp,hvp": {"signatures": ["jvp", "hvp"]},
    "--solve vol:price,spot:price": {"solve": [("vol", "price"), ("spot", "price")]},
    "--zeros price:rate,delta:rate": {"zeros": [("price", "rate"), ("delta", "rate")]},
    "--derivatives forces=-energy:positions": {"derivatives": {"forces": ("-energy", "positions")}},
    "--serve-aliases": {"serve_aliases": True},
    "--domain x=0:1 --domain t=-1:2": {"domain": {"x": (0.0, 1.0), "t": (-1.0, 2.0)}},
    "--units x=m,t=s": {"units": {"x": "m", "t": "s"}},
    "--signature predict": {"signature": "predict"},
    "--tags serve,gpu": {"tags": ["serve", "gpu"]},
    "--shape x=12,3 --shape t=2": {"shapes": {"x": (12, 3), "t": (2,)}},
    "--compile xla": {"compile": "xla"},
    "--unsafe-lambda": {"unsafe_lambda": True},
    "--replace-contract": {"replace_contract": True},
    "--keep-unproven": {"keep_unproven": True},
    "--nan-guard": {"nan_guard": True},
    "--gate rows.csv": gate(),
    "--gate rows.csv --gate-tolerance 1.05": gate(tolerance=1.05),
    "--gate rows.csv --gate-tolerance cl=1.1,cd=2": gate(tolerance={"cl": 1.1, "cd": 2.0}),
    "--gate rows.csv --gate-against 3": gate(against="3"),
    "--gate rows.csv --gate-columns mach=M,cl=CL": gate(columns={"mach": "M", "cl": "CL"}),
    "--gate rows.csv --force recalibrated": gate(force="recalibrated"),
}


@pytest.mark.parametrize("words", OPTIONS)
def test_an_option_arrives_as_what_it_means(words, monkeypatch):
    """That one alone, and nothing else with it."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def export(source: Any, **arguments: Any) -> None:
        calls.append((source, arguments))
        raise CheckFailed  # the export itself is tested elsewhere

    fake = SimpleNamespace(export=export, DerivativeWarning=UserWarning, Gate=dict, GateRefused=KeyError)
    monkeypatch.setattr(command, "import_heavy", lambda name: fake)
    monkeypatch.setattr(sys, "argv", ["gradwire", "export", "net.keras", "--to", "models/m", *words.split()])
    with pytest.raises(SystemExit):
        main()
    assert calls == [(Path("net.keras"), DEFAULTS | OPTIONS[words])]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--force because", "--force is for --gate"),
        ("--gate-tolerance 1.1", "--gate-tolerance is for --gate"),
        ("--gate-against 3", "--gate-against is for --gate"),
        ("--gate rows.csv --gate-tolerance much", "expected one number"),
        ("--gate rows.csv --gate-tolerance cl=1,cl=2", "expected one number"),
        ("--gate rows.csv --gate-tolerance cl=1,1.2", "expected one number"),
    ],
)
def test_options_of_the_gate_that_do_not_go_together(words, message, monkeypatch, capsys):
    """Misuse, before anything is exported."""
    monkeypatch.setattr(command, "import_heavy", lambda name: SimpleNamespace(Gate=dict))
    monkeypatch.setattr(sys, "argv", ["gradwire", "export", "net.keras", "--to", "models/m", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_every_option_is_in_the_table(monkeypatch, capsys):
    """A new option needs a line above."""
    monkeypatch.setattr(sys, "argv", ["gradwire", "export", "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main()
    shown = {word for word in capsys.readouterr().out.replace(",", " ").split() if word.startswith("--")}
    in_table = {word for words in OPTIONS for word in words.split() if word.startswith("--")}
    assert shown - {"--to", "--help"} == in_table
