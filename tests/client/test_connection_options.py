"""The command and a server in production: how it is reached, which version answered, and what the exit code says."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

import gradwire
import gradwire.aio
from gradwire._cli.io import Connection
from gradwire._cli.main import EXIT_CODES, app, main

FAULT, MISUSE, REFUSED = 1, 2, 3  # as docs/command-line.md has them

Run = Callable[..., tuple[int, str, str]]

# The words of every command that takes an address; T is the address, N the model's name, D a directory.
COMMANDS = {
    "query": ["T", "N", "--input", "x=1"],
    "plot": ["T", "N", "--points", "3"],
    "bench": ["T", "N", "--rows", "1", "--in-flight", "1", "--seconds", "0.01"],
    "card": ["T", "N"],
    "verify": ["T", "N", "--points", "3"],
    "evaluate": ["T", "N", "D/labels.csv"],
    "diff": ["T/N", "T/N", "--points", "3"],
    "batch": ["D/rows.csv", "D/out.parquet", "--server", "T", "--name", "N", "--overwrite"],
    "umbridge": ["T", "N"],
    "explore": ["T", "N", "--no-browser"],
}
NEEDS = {"plot": "plotille", "evaluate": "pyarrow", "batch": "pyarrow"}
ENDLESS = ("umbridge", "explore")  # they serve until Ctrl-C


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: ``run("query", words, address, name)`` gives exit code, output and errors."""
    (tmp_path / "rows.csv").write_text("x\n0.5\n1.5\n")
    (tmp_path / "labels.csv").write_text("x,f\n1.0,0.0\n1.5,0.4\n")
    for each in fields(Connection):
        monkeypatch.delenv(f"GRADWIRE_{each.name.upper()}", raising=False)

    def once(command: str, words: list[str], target: str = "", name: str = "log") -> tuple[int, str, str]:
        if (needed := NEEDS.get(command)) and not find_spec(needed):
            pytest.skip(f"the client alone has no {needed}")
        places = {"T/N": f"{target}/{name}", "T": target, "N": name}
        words = [places.get(word, word.replace("D/", f"{tmp_path}/")) for word in words]
        monkeypatch.setattr(sys, "argv", ["gradwire", command, *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capfd.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return once


def test_every_command_with_an_address_is_in_the_table():
    """What takes an address has all options of a connection, with variables; what takes none has none of them."""
    names = {each.name for each in fields(Connection)}
    commands: dict[str, Any] = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue] - it is a group
    for name, command in commands.items():
        options = {each.name: each for each in command.params}
        assert ("ca_file" in options) is (name in COMMANDS), name
        if name in COMMANDS:
            assert names <= options.keys()
            assert {options[each].envvar for each in names} == {f"GRADWIRE_{each.upper()}" for each in names}
        assert command.epilog == EXIT_CODES


def typed(values: dict[str, Any]) -> list[str]:
    """Options, as they are typed."""
    return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def production(secured: Callable[..., Any], pki: Path, tmp_path: Path) -> tuple[Any, dict[str, Any]]:
    """A server behind certificates that wants a token and a tenant, and what a command has to say to it."""
    server = secured("elsewhere", mutual=True)

    def check(request: Any, context: Any) -> None:
        seen = dict(context.invocation_metadata())
        if (seen.get("authorization"), seen.get("tenant")) != ("Bearer secret", "a"):
            context.abort(gradwire._grpc.status.grpc.StatusCode.UNAUTHENTICATED, "who is it?")

    server.hook = check
    (tmp_path / "token").write_text("secret\n")
    values = {
        "ca_file": pki / "authority.pem",
        "cert_file": pki / "client.pem",
        "key_file": pki / "client.key",
        "server_name": "elsewhere.invalid",
        "token_file": tmp_path / "token",
        "metadata": "tenant=a",
        "timeout": 20,
        "version": 1,
    }
    return server, values


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ENDLESS])
def test_options_reach_the_server(run: Run, production: tuple[Any, dict[str, Any]], command: str):
    """Mutual TLS for another name, a token, metadata and a version: by every command."""
    server, values = production
    words = COMMANDS[command]
    if command == "verify":
        words = [*words, "--format", "json"]
    code, out, err = run(command, [*words, *typed(values)], server.target)
    assert code == 0, out + err
    if command == "verify":
        assert json.loads(out)["version"] == 1


def test_variables_reach_the_server(
    run: Run, production: tuple[Any, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The same in the environment, where what is typed goes first, and a token that is replaced is read again."""
    server, values = production
    for name, value in values.items():
        monkeypatch.setenv(f"GRADWIRE_{name.upper()}", str(value))
    code, _, err = run("query", COMMANDS["query"], server.target)
    assert (code, "log version 1 at" in err) == (0, True)
    assert run("query", [*COMMANDS["query"], "--version", "7"], server.target)[0] == REFUSED
    code, _, err = run("query", [*COMMANDS["query"], "--label", "stable"], server.target, "versions")
    assert (code, "versions version 1 at" in err) == (0, True)
    (tmp_path / "token").write_text("changed")
    code, _, err = run("query", COMMANDS["query"], server.target)
    assert (code, "who is it?" in err, "--token-file" in err) == (REFUSED, True, True)
    code, _, err = run("query", [*COMMANDS["query"], "--token-file", "D/none"], server.target)
    assert (code, "token could not be read" in err) == (MISUSE, True)


def test_which_version_answered(run: Run, stand_in: Any):
    """`query` says it beside its output, `verify` with the digest."""
    code, out, err = run("query", ["T", "N", "--input", "x=2", "--format", "csv"], stand_in.target, "versions")
    assert code == 0
    assert out.splitlines()[1].split(",")[1] == str(2 * np.log(2.0))
    assert f"versions version 2 at {stand_in.target}" in err
    for words, version in ((["--version", "1"], 1), (["--label", "canary"], 2)):
        _, out, _ = run("verify", [*COMMANDS["verify"], "--format", "json", *words], stand_in.target, "versions")
        assert json.loads(out)["version"] == version
    _, out, _ = run("verify", COMMANDS["verify"], stand_in.target)
    assert f"log version 1 at {stand_in.target}, " in out


def test_a_token_within_this_machine(run: Run, stand_in: Any, tmp_path: Path):
    """Plain text will do on this machine, and nowhere else; nothing is sent there."""
    (tmp_path / "token").write_text("secret")
    stand_in.hook = lambda request, context: seen.append(dict(context.invocation_metadata()).get("authorization"))
    seen: list[Any] = []
    words = [*COMMANDS["query"], "--token-file", "D/token"]
    assert run("query", words, stand_in.target)[0] == 0
    assert set(seen) == {"Bearer secret"}
    code, _, err = run("query", words, "10.0.0.1:8500")
    assert (code, "a token would travel to 10.0.0.1:8500 in plain text" in err) == (MISUSE, True)
    code, _, err = run("query", [*COMMANDS["query"], "--metadata", "Authorization=Bearer x"], "10.0.0.1:8500")
    assert (code, "plain text" in err) == (MISUSE, True)


BAD = ["--version", "1", "--label", "stable"]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("target", "name", "more", "expected"),
    [
        ("127.0.0.1:1", "log", [], REFUSED),  # nothing is there
        ("T", "nope", [], REFUSED),  # the server has no such model
        ("T", "log", BAD, MISUSE),
        ("T", "log", ["--metadata", "tenant"], MISUSE),
        ("T", "log", ["--timeout", "0"], MISUSE),
        ("T", "log", ["--nonsense"], MISUSE),
    ],
)
def test_exit_codes(run: Run, stand_in: Any, command: str, target: str, name: str, more: list[str], expected: int):
    """Every command: 2 for misuse, 3 where a server was not reached or refused; one line, and no traceback."""
    target = stand_in.target if target == "T" else target
    code, out, err = run(command, [*COMMANDS[command], *more], target, name)
    assert code == expected, out + err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("verify", ["T", "wrong", "--points", "3"]),
        ("diff", ["T/log", "T/log32", "--points", "3"]),
        ("card", ["D/none", "log"]),
    ],
)
def test_a_check_that_failed(run: Run, stand_in: Any, make_log: Any, command: str, words: list[str]):
    """Exit code 1: derivatives that are not those of the values, and packages that differ."""
    from tests.client.models import log_both

    stand_in.models["wrong"] = {1: make_log(both=lambda x: log_both(x) | {"df_dx": 2 / x})._transport}
    words = [word.replace("T/", f"{stand_in.target}/") for word in words]
    code, _, err = run(command, words, stand_in.target)
    assert code == (MISUSE if command == "card" else FAULT), err


def test_options_of_a_connection_beside_a_directory(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They are refused by name where they are typed; a variable may stay, for it is set for all commands."""
    code, _, err = run("card", [str(tmp_path), "--ca-file", "x.pem"])
    assert (code, "--ca-file is for an address" in err) == (MISUSE, True)
    code, _, err = run("card", [str(tmp_path), "--version", "3"])
    assert (code, f"{tmp_path}/1" in err) == (MISUSE, True)
    monkeypatch.setenv("GRADWIRE_CA_FILE", "x.pem")
    monkeypatch.setenv("GRADWIRE_TLS", "1")
    connection = Connection(ca_file=Path("x.pem"), tls=True)
    connection.require_unused("models/log")
    assert inspect.signature(Connection).parameters.keys() == {each.name for each in fields(Connection)}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"target": 5}, "server 5, expected host:port"),
        ({"target": ["a:1", None]}, r"server \['a:1', None\], expected host:port"),
        ({"model": 5}, "model=5, expected the model's name"),
        ({"version": "1"}, "version='1', expected a number"),
        ({"version": True}, "version=True, expected a number"),
        ({"gzip": "yes"}, "gzip='yes', expected True or False"),
        ({"memoize": True}, "memoize=True"),
        ({"timeout": float("inf")}, "timeout=inf, expected seconds, more than 0 and at most"),
        ({"timeout": True}, "timeout=True"),
        ({"version": -1}, "version -1"),
        ({"label": 1}, "label=1, expected a label"),
        ({"timeout": None}, "timeout"),
        ({"timeout": "3"}, "timeout"),
        ({"tls": "c.pem"}, "tls='c.pem', expected None, True"),
        ({"tls": gradwire.TLS(server_name=3)}, "server_name=3, expected a name"),
        ({"tls": gradwire.TLS(root_certificates=3)}, "TLS file 3, expected a path"),
        ({"token": 7}, "token=7"),
        ({"token": ""}, "the token is empty"),
        ({"token": "a\nb"}, "not printable ASCII"),
        ({"metadata": ["a"]}, "metadata=.*expected a mapping"),
        ({"metadata": {"a": 1}}, "expected names and values as text"),
        ({"metadata": {"Tenant": "a"}}, "metadata 'Tenant', expected a name of small letters"),
        ({"metadata": {"grpc-x": "a"}}, "expected a name"),
        ({"metadata": {"x-bin": "a"}}, "expected a name"),
        ({"metadata": {"x": "é"}}, "not printable ASCII"),
    ],
)
def test_arguments_of_other_types(stand_in: Any, kwargs: dict[str, Any], message: str):
    """Each is a UsageError that says what was expected, before anything is sent."""
    with pytest.raises(gradwire.UsageError, match=message):
        gradwire.connect(**{"target": stand_in.target, "model": "log"} | kwargs)


@pytest.mark.parametrize("path", [5, None, b"models"])
def test_paths_of_other_types(path: Any):
    """`load` takes text or a Path."""
    with pytest.raises(gradwire.UsageError, match="expected a path as text or Path"):
        gradwire.load(path)
    with pytest.raises(gradwire.UsageError, match="expected a path as text or Path"):
        asyncio.run(gradwire.aio.load(path))


COMMANDS_WITHOUT = ["train", "study", "export", "serve"]


@pytest.mark.parametrize("command", COMMANDS_WITHOUT)
def test_misuse_of_the_other_commands(run: Run, command: str):
    """An option that there is not is misuse, before anything heavy is imported; --debug ends with the same line."""
    code, _, err = run(command, ["x", "--nonsense"])
    assert (code, "--nonsense" in err) == (MISUSE, True)


def test_debug_ends_with_the_sentence(run: Run, stand_in: Any):
    """The traceback stands above it, Gradwire's own alone."""
    code, _, err = run("card", ["T", "N", "--debug"], stand_in.target, "nope")
    assert code == REFUSED
    assert err.count("Traceback (most recent call last):") == 1
    assert err.splitlines()[-1].startswith("gradwire: nope at ")
