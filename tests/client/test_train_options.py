"""The options of `gradwire train` that are read, passed on or refused before TensorFlow is loaded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gradwire import Alias
from gradwire._cli.choices import Activation, DType, OptimizerName
from gradwire._cli.io import read_columns, read_derivatives
from gradwire._cli.train.options import TrainOptions
from gradwire._cli.train.start import accepted, loss_of, optimizer_of, read_start, with_names
from gradwire._cli.train.task import _species
from gradwire._errors import UsageError

TO = Path("build/result")


def test_widths_are_positive_integers():
    """One number per hidden layer."""
    assert TrainOptions("log", TO, network="20,20").layers == {"widths": (20, 20)}
    assert TrainOptions("log", TO, network=" 64 ").layers == {"widths": (64,)}
    for text in ("", "20,", "0", "-3", "2.5", "a"):
        with pytest.raises(UsageError, match=r"expected the number of units of each hidden layer, such as 20,20"):
            _ = TrainOptions("log", TO, network=text).layers


def test_columns_are_names_or_mapped_to_them():
    """Quotes hold commas, equals signs and quotes of the other kind; blanks around names do not count."""
    assert read_columns("inputs", None) is None
    text = """mach=Mach number, alpha = alpha (deg),ab='a, b',re,"c=d's e",'f= g'"""
    expected = {"mach": "Mach number", "alpha": "alpha (deg)", "ab": "a, b", "re": "re", "c": "d's e", "f": "g"}
    assert read_columns("inputs", text) == expected
    assert list(read_columns("inputs", "b,a")) == ["b", "a"]
    for bad in ("", "a,a", "a=c,b=c", "=a", "a=", "a='b"):
        with pytest.raises(UsageError, match=r"--inputs .*(expected distinct names|a quote is not closed)"):
            read_columns("inputs", bad)


def test_derivatives_are_declared_by_name():
    """A sign or a factor goes with the output; a column of another name stands between."""
    text = "delta=px:S0, forces=-energy:positions,slope='df/dx, right'=f:x"
    assert read_derivatives("derivatives", text) == {
        "delta": ("px", "S0"),
        "forces": ("-energy", "positions"),
        "slope": ("f", "x", "df/dx, right"),
    }
    for bad in ("delta", "delta=px", "=px:S0", "a=f:x,a=f:y"):
        with pytest.raises(UsageError, match=r"--derivatives .*expected NAME=OUTPUT:INPUT"):
            read_derivatives("derivatives", bad)


def test_the_network_is_left_to_the_problem():
    """Only what was given is passed on to the network."""
    assert TrainOptions("log", TO).layers == {}
    assert TrainOptions("log", TO, activation=Activation.TANH).layers == {"activation": "tanh"}


def test_rows_of_a_file_choose_the_network_unless_it_is_given():
    """``auto`` is the default and may be written; an activation limits the choice; an earlier fit has a network."""
    assert TrainOptions("a.csv", TO).is_chosen
    assert TrainOptions("a.csv", TO, network="auto").layers == {}
    assert TrainOptions("a.csv", TO, network="auto", activation=Activation.TANH).is_chosen
    for source, given in (
        ("a.csv", {"network": "20,20"}),
        ("a.csv", {"network": "atoms"}),
        ("a.csv", {"start": Path("models/a")}),
        ("log", {}),
        ("log", {"network": "auto"}),
    ):
        assert not TrainOptions(source, TO, **given).is_chosen


def test_the_network_of_atoms_is_for_files():
    """Species belong to it, and a built-in problem has a network of its own."""
    options = TrainOptions("a.npz", TO, network="atoms", species="O,H,H")
    options.check()
    assert options.layers == {}
    for source, given in (("log", {"network": "atoms"}), ("a.npz", {"species": "O"}), ("log", {"species": "O"})):
        with pytest.raises(UsageError, match=r"--network atoms|--species"):
            TrainOptions(source, TO, **given).check()


def test_species_are_given_or_those_of_an_extended_xyz_file(tmp_path):
    """Of any other file the atoms are all alike unless the option says more."""
    ase = pytest.importorskip("ase", reason="the client alone reads no extended XYZ")
    io = pytest.importorskip("ase.io", reason="the same")
    water = tmp_path / "water.xyz"
    io.write(water, ase.Atoms("OH2", positions=[[0, 0, 0], [0, 0, 1], [0, 1, 0]]), format="extxyz")

    def species(name, **given):
        options = TrainOptions(str(tmp_path / name), TO, network="atoms", **given)
        return _species(options, tmp_path / name, ["positions"])

    assert species("water.xyz") == {"positions": ["O", "H", "H"]}
    assert species("water.npz", species="O, H,H") == {"positions": ["O", "H", "H"]}
    assert species("water.npz") == {}


def test_weights_are_settings_of_a_loss_that_has_them():
    """A weight that would be ignored is refused, by the option's name."""
    options = TrainOptions("log", TO, derivative_weight=2.0)
    assert options.loss_settings("sobolev", ("value_weight", "derivative_weight")) == {"derivative_weight": 2.0}
    assert TrainOptions("log", TO).loss_settings("value", ()) == {}
    with pytest.raises(UsageError, match="--derivative-weight does not apply to --loss value: leave it out"):
        options.loss_settings("value", ())


@pytest.mark.parametrize("source", ["data.csv", "parts/", "build\\data", "data.parquet"])
def test_a_source_with_a_dot_or_a_slash_is_a_file(source):
    """Names of problems have neither."""
    assert TrainOptions(source, TO).is_file
    assert not TrainOptions("styblinski-tang-3", TO).is_file


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (TrainOptions("log", TO, units=["x=1"]), "--units does not apply to log, a built-in problem: leave it out"),
        (TrainOptions("a.csv", TO, exact=True), "--exact does not apply to a.csv, a file: leave it out"),
        (TrainOptions("log", TO, batch_size=2, optimizer=OptimizerName.LM), "--batch-size is for adam"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(options, message):
    """By its name."""
    with pytest.raises(UsageError, match=message):
        options.check()


TRAINED = {
    "seed": 3,
    "dtype": "float64",
    "loss": {"name": "sobolev", "value_weight": 2.0, "derivative_weight": None, "balanced": True, "pins": None},
    "optimizer": {"name": "lbfgs", "memory": 30},
    "steps_asked": 500,
    "samples": {"values": 10, "derivatives": 5},
}
START = SimpleNamespace(
    trained=TRAINED,
    inputs=("spot", "vol"),
    outputs=("price",),
    units={"price": "USD"},
    aliases={"vega": Alias("price", "vol", 0.01), "delta": Alias("price", "spot")},
)
UNWEIGHTED: dict[str, Any] = {"ignore": [], "weights": None}
TRAINING: Any = SimpleNamespace(
    load=lambda path: START, optimizers=SimpleNamespace(get=lambda name, **settings: (name, settings))
)


def test_what_is_not_given_is_that_of_the_earlier_fit():
    """Seed and dtype; what is given wins; without an earlier fit there are defaults."""
    for given, seed, dtype in (
        ({"start": Path("models/wing")}, 3, DType.FLOAT64),
        ({"start": Path("models/wing"), "seed": 0, "dtype": DType.FLOAT32}, 0, DType.FLOAT32),
        ({}, 0, DType.FLOAT32),
    ):
        start, options = read_start(TRAINING, TrainOptions("a.csv", TO, **given))
        assert (start, options.seed, options.dtype) == (START if "start" in given else None, seed, dtype)


def test_names_are_those_of_the_earlier_fit(tmp_path):
    """Inputs, outputs, units, and the aliases that the file has columns of; what is given wins."""
    pytest.importorskip("pyarrow", reason="the client alone reads no tables")
    path = tmp_path / "a.csv"
    path.write_text("spot,vol,price,vega\n1,2,3,4\n")
    nothing: dict[str, Any] = {"inputs": None, "outputs": None, "derivatives": None, "units": {}, **UNWEIGHTED}
    assert with_names(nothing, START, path, ".") == {
        **UNWEIGHTED,
        "inputs": ["spot", "vol"],
        "outputs": ["price"],
        "derivatives": {"vega": ("0.01*price", "vol")},
        "units": {"price": "USD"},
    }
    given = {
        "inputs": {"spot": "S"},
        "outputs": None,
        "derivatives": {"v": ("price", "vol")},
        "units": {"price": "EUR"},
        **UNWEIGHTED,
    }
    assert with_names(given, START, path, ".") == given | {"outputs": ["price"]}
    assert with_names(nothing, None, path, ".") == nothing


def test_weights_are_of_the_column_of_the_earlier_fit(tmp_path, capsys):
    """Another that is given wins; one that is to be ignored is left out, and one that is not there with a word."""
    pytest.importorskip("pyarrow", reason="the client alone reads no tables")
    start = SimpleNamespace(
        **{**vars(START), "source": "models/wing/1", "trained": {"samples": {"weights": {"column": "w"}}}}
    )
    path = tmp_path / "a.csv"
    path.write_text("spot,vol,price,w,v\n1,2,3,4,5\n")
    nothing: dict[str, Any] = {"inputs": None, "outputs": None, "derivatives": None, "units": {}, **UNWEIGHTED}
    assert with_names(nothing, start, path, ".")["weights"] == "w"
    assert with_names({**nothing, "weights": "v"}, start, path, ".")["weights"] == "v"
    assert with_names({**nothing, "ignore": ["w"]}, start, path, ".")["weights"] is None
    assert with_names(nothing, start, tmp_path, ".")["weights"] == "w"  # a directory of files, not opened yet
    assert capsys.readouterr().err == ""
    path.write_text("spot,vol,price\n1,2,3\n")
    assert with_names(nothing, start, path, ".")["weights"] is None
    assert "has no column 'w', by which models/wing/1 weighted its rows" in " ".join(capsys.readouterr().err.split())


def test_loss_and_optimizer_are_those_of_the_earlier_fit():
    """Where the labels are of the same kinds; an optimiser that auto chose is chosen anew."""
    both, values = (SimpleNamespace(value_labels=9, derivative_labels=count) for count in (4, 0))
    name, settings = loss_of(START, both, "sobolev")
    assert (name, settings["value_weight"]) == ("sobolev", 2.0)
    assert accepted(settings, ("value_weight", "balanced")) == {"value_weight": 2.0, "balanced": True}
    assert loss_of(START, values, "value") == ("value", {})
    assert loss_of(None, both, "sobolev") == ("sobolev", {})
    assert optimizer_of(TRAINING, START, "auto", None) == (("lbfgs", {"memory": 30}), 500)
    chosen = SimpleNamespace(trained=TRAINED | {"optimizer": {"name": "auto"}})
    assert optimizer_of(TRAINING, chosen, "auto", 7) == ("auto", 7)


def test_the_network_is_that_of_the_earlier_fit():
    """Another one is refused by name; further files are for a file."""
    for given in ({"network": "20"}, {"activation": Activation.TANH}, {"reduce": "auto"}):
        with pytest.raises(UsageError, match=rf"--{next(iter(given))} does not apply, the network is that of --from"):
            TrainOptions("a.csv", TO, start=Path("models/wing"), **given).check()
    with pytest.raises(UsageError, match="--add does not apply"):
        TrainOptions("log", TO, add=[Path("b.csv")]).check()
