"""The page without a browser: what Python computes for it, what there is to copy, and its HTTP side."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from tests.client.explored import One, log_with_bars
from tests.client.models import log_card

import gradwire
from gradwire._cli.commands import explore as command
from gradwire._cli.commands import serve
from gradwire._cli.explore import Application, DirectorySource, Explorer, PageServer, Samples, ServerSource, source_of
from gradwire._cli.explore import source as source_module
from gradwire._cli.explore.application import FILES, HEADERS, LARGEST
from gradwire._cli.explore.source import Choice
from gradwire._cli.explore.view import CURVE_POINTS, MAP_POINTS
from gradwire._cli.io import Connection
from gradwire._cli.main import main
from gradwire._package import GRAPH_FILE
from gradwire.testing import FakeModel, fake_server

HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b[2J"
Answer = tuple[int, dict[str, str], Any]


def saddle(x: np.ndarray, n: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs f = x² y0 - y1 + n and w = (f, 2 f)."""
    f = x * x * y[:, 0] - y[:, 1] + n
    return {"f": f, "w": np.stack([f, 2 * f], 1)}


def saddle_grad(x: np.ndarray, n: np.ndarray, y: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """The derivatives with respect to x and y."""
    f_x, f_y = 2 * x * y[:, 0], np.stack([x * x, -np.ones_like(x)], 1)
    return {
        "f": {"x": f_x, "y": f_y},
        "w": {"x": np.stack([f_x, 2 * f_x], 1), "y": np.stack([f_y, 2 * f_y], 1)},
    }


@pytest.fixture
def fake() -> Iterator[FakeModel]:
    """The saddle on a server."""
    with fake_server() as serve:
        yield serve(
            saddle, saddle_grad, name="saddle", inputs={"x": 1, "n": 1, "y": 2}, outputs={"f": 1, "w": 2}, wrt=["x", "y"],
            domain={"x": (1.0, 3.0), "y": ([-1.0, 0.0], [1.0, 0.0])},
        )  # fmt: skip


@pytest.fixture
def explorer(fake: FakeModel) -> Explorer:
    """An explorer of the saddle."""
    return Explorer.of(source_of("localhost:8500", fake.name, Connection()), "localhost:8500")


def asked(**changes: Any) -> dict[str, Any]:
    """A view of the saddle as the page asks for it."""
    point = {"at": "newest", "beside": "", "output": 0, "point": [1.5, 2.0, 0.5, 0.25], "map": [0, 2]}
    return point | changes


def unpacked(text: str) -> np.ndarray:
    """The numbers of a packed array."""
    return np.frombuffer(base64.b64decode(text), "<f8")


def test_a_view_is_the_function(explorer: Explorer):
    """Curves, gradient, map and numbers against the closed form, for an element of an output of several."""
    view = explorer.view("saddle", asked(output=2))  # w[1] = 2 f
    x, n, y0, y1 = asked()["point"]
    assert [row["label"] for row in view["values"]] == ["f", "w[0]", "w[1]"]
    f = x * x * y0 - y1 + n
    assert [float(row["value"]) for row in view["values"]] == [f, f, 2 * f]
    assert [row["label"] for row in view["gradient"]] == ["dw_dx[1,0]", "", "dw_dy[1,0]", "dw_dy[1,1]"]
    assert [float(row["value"]) for row in view["gradient"] if row["label"]] == [4 * x * y0, 2 * x * x, -2.0]
    assert [row["across"] for row in view["gradient"]] == [2 * 4 * x * y0, None, 2 * 2 * x * x, -2.0]  # times widths
    assert [curve["input"] for curve in view["curves"]] == [0, 1, 2, 3]
    along = {curve["input"]: curve for curve in view["curves"]}
    at = unpacked(along[0]["x"])
    assert len(at) == CURVE_POINTS
    assert (at[0], at[-1]) == (0.8, 3.2)
    np.testing.assert_allclose(unpacked(along[0]["shown"]["f"]), 2 * (at * at * y0 - y1 + n), rtol=1e-13)
    np.testing.assert_allclose(unpacked(along[0]["shown"]["df"]), 4 * at * y0, rtol=1e-13)
    np.testing.assert_allclose(unpacked(along[3]["shown"]["df"]), -2.0)
    square = view["map"]
    rows, columns = np.meshgrid(*(np.linspace(*ends, MAP_POINTS) for ends in square["ends"][::-1]), indexing="ij")
    np.testing.assert_allclose(
        unpacked(square["shown"]["f"]).reshape(rows.shape), 2 * (columns**2 * rows - y1 + n), atol=1e-12
    )
    np.testing.assert_allclose(unpacked(square["shown"]["dx"]).reshape(rows.shape), 4 * columns * rows, atol=1e-12)
    np.testing.assert_allclose(unpacked(square["shown"]["dy"]).reshape(rows.shape), 2 * columns**2, atol=1e-12)
    assert view["outside"] == ["y[1]"]
    assert [call["rows"] for call in view["calls"]] == [1, 1 + 4 * CURVE_POINTS + MAP_POINTS**2]


def test_sliders(explorer: Explorer):
    """Each element of each input has one: it shows where the domain ends, and does not cross zero."""
    described = explorer.describe("saddle", "newest")
    sliders = {each["label"]: each for each in described["inputs"]}
    assert list(sliders) == ["x", "n", "y[0]", "y[1]"]
    assert (sliders["x"]["domain"], sliders["x"]["ends"], sliders["x"]["start"]) == ([1.0, 3.0], [0.8, 3.2], 2.0)
    assert (sliders["n"]["domain"], sliders["n"]["ends"]) == (None, [-1.2, 1.2])  # not known
    assert sliders["y[1]"]["ends"] == [-0.1, 0.1]  # a constant
    with fake_server() as serve:
        serve(np.log, lambda x: 1 / x, name="log", domain={"x": (0.1, 1.9)})
        log = Explorer.of(source_of("a:1", "log", Connection()), "a:1").describe("log", "newest")
    assert log["inputs"][0]["ends"] == [0.05, 2.08]
    assert log["no_bars"].startswith("no error bars, because ")


def test_integers():
    """They have a slider of whole numbers, and neither a curve nor a derivative; a fraction is refused."""
    spec = {"x": "float64", "k": "int32"}
    card = gradwire.Card(
        name="table",
        inputs=tuple(gradwire.CardTensor(name, dtype, (1,)) for name, dtype in spec.items()),
        outputs=(gradwire.CardTensor("f", "float64", (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        signatures=("serving_default", "card"),
    )
    functions = {"serving_default": lambda x, k: {"f": k * x, "df_dx": k + 0.0 * x}}
    explorer = Explorer.of(One(gradwire.Model(gradwire.FakeTransport(functions, card=card))), "")
    slider = explorer.describe("one", "newest")["inputs"][1]
    assert (slider["integer"], slider["step"], slider["ends"], slider["start"]) == (True, 1.0, [0.0, 1.0], 0.0)
    view = explorer.view("one", asked(point=[0.5, 3], map=None))
    assert (view["values"][0]["value"], [curve["input"] for curve in view["curves"]]) == ("1.5", [0])
    assert "k=3" in view["query"].split()
    for change in ({"point": [0.5, 0.5], "map": None}, {"point": [0.5, 3], "map": [0, 1]}):
        with pytest.raises(gradwire.UsageError, match=r"give integers|a map of the inputs"):
            explorer.view("one", asked(**change))


def test_error_bars():
    """The 95 % bars are 1.96 standard deviations, of value and derivative; a point far from the samples is told."""
    explorer = Explorer.of(One(log_with_bars()), "")
    assert explorer.describe("one", "newest")["no_bars"] == ""
    for x, trusted in ((1.4, True), (1.6, False)):
        view = explorer.view("one", asked(point=[x], map=None))
        assert view["values"][0]["bar"] == f"{1.96 * (x - 1):.2g}"
        assert view["gradient"][0]["bar"] == f"{1.96 * (x - 1) / 2:.2g}"
        assert view["trusted"] is trusted
        [curve] = view["curves"]
        at, bars = unpacked(curve["x"]), unpacked(curve["shown"]["f_bar"])
        np.testing.assert_allclose(bars, 1.959964 * np.abs(at - 1), rtol=1e-12)
        np.testing.assert_allclose(unpacked(curve["shown"]["df_bar"]), bars / 2, rtol=1e-12)
        assert "model.uncertainty(x=1." in view["python"]


def test_numbers_that_are_none():
    """NaN and infinities are shown as what they are, and are gaps of the curves; JSON stays JSON."""
    functions = {"serving_default": lambda x: {"f": np.where(x > 1, np.inf, np.nan), "df_dx": np.full_like(x, -np.inf)}}
    explorer = Explorer.of(One(gradwire.Model(gradwire.FakeTransport(functions, card=log_card()))), "")
    request = json.dumps(asked(point=[1.5], map=None))
    code, _, view = ask(explorer, "POST", "/api/view?model=one", request)
    assert (code, view["values"][0]["value"], view["gradient"][0]["value"]) == (200, "inf", "-inf")
    assert view["gradient"][0]["across"] is None
    assert np.isnan(unpacked(view["curves"][0]["shown"]["f"])[0])


def test_a_domain_of_distances():
    """It is no box: sliders are not shaded, and the input as a whole is outside or not."""
    near = gradwire.Domain([0.5], [1.5])
    tensor = gradwire.CardTensor(
        "r", "float64", (2, 3), domain=gradwire.Domain(-1.0, 1.0), species=("H", "H"), distances={"H-H": near}
    )
    card = gradwire.Card("pair", (tensor,), (gradwire.CardTensor("e", "float64", (1,)),), {"e": {"r": "f"}}, ("card",))
    functions = {"serving_default": lambda r: {"e": r[:, 0, :1], "f": r}}
    explorer = Explorer.of(One(gradwire.Model(gradwire.FakeTransport(functions, card=card))), "")
    assert {each["domain"] for each in explorer.describe("one", "newest")["inputs"]} == {None}
    for x, outside in ((1.0, []), (3.0, ["r"])):
        view = explorer.view("one", asked(point=[0.0, 0.0, 0.0, x, 0.0, 0.0], map=None))
        assert view["outside"] == outside
    assert "model.value_and_grad(r=[[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])" in view["python"]


def test_two_versions_and_their_difference(stand_in: Any):
    """By number and by label, from a server over gRPC; the difference is the first less the second."""
    explorer = Explorer.of(ServerSource(stand_in.target, "versions", Connection()), stand_in.target)
    status = explorer.status("versions", "stable")
    assert (status["reachable"], status["newest"], status["labelled"]) == (True, 2, 1)
    assert explorer.status("versions", "nope") | {"milliseconds": 0} == status | {"labelled": None, "milliseconds": 0}
    request = json.dumps(asked(at="label:nope", point=[1.5], map=None))
    code, _, answer = ask(explorer, "POST", "/api/view?model=versions", request)
    assert (code, answer["error"]) == (404, "ModelNotFound")  # the server is there, and refuses
    assert [(row["version"], row["state"]) for row in status["versions"]] == [
        (3, "END"),
        (2, "AVAILABLE"),
        (1, "AVAILABLE"),
    ]
    assert status["versions"][0]["error"] == "DATA_LOSS: truncated"
    view = explorer.view("versions", asked(point=[1.5], map=None, beside="label:stable"))
    assert (view["version"], view["beside"]) == (2, 1)
    log = float(np.log(1.5))
    assert view["values"][0]["value"] == str(2 * log)
    assert view["values"][0]["beside"] == str(log)
    assert float(view["values"][0]["difference"]) == pytest.approx(log, rel=1e-2)
    [curve] = view["curves"]
    x = unpacked(curve["x"])
    np.testing.assert_allclose(unpacked(curve["difference"]["f"]), np.log(x), rtol=1e-13)
    np.testing.assert_allclose(unpacked(curve["difference"]["df"]), 1 / x, rtol=1e-13)
    assert explorer.view("versions", asked(at="1", point=[1.5], map=None))["values"][0]["value"] == str(log)
    with pytest.raises(gradwire.ModelNotFound):
        explorer.view("versions", asked(at="7", point=[1.5], map=None))
    stand_in.models["versions"][1] = stand_in.models["multi"][1]
    with pytest.raises(gradwire.UsageError, match=r"version 1 has the inputs x.*cannot stand side by side"):
        Explorer.of(ServerSource(stand_in.target, "versions", Connection()), "").view(
            "versions", asked(point=[1.5], map=None, beside="1")
        )
    explorer.close()


def test_a_hot_swap(explorer: Explorer, fake: FakeModel):
    """The version that is gone is let go, within one request of the page; the status names the new one."""
    assert explorer.view("saddle", asked())["version"] == 1
    fake.publish(lambda *inputs: {name: -each for name, each in saddle(*inputs).items()}, saddle_grad)
    view = explorer.view("saddle", asked())
    assert (view["version"], float(view["values"][0]["value"])) == (2, -(1.125 - 0.25 + 2.0))
    assert explorer.status("saddle")["newest"] == 2


@pytest.mark.slow
def test_a_server_that_goes_away(make_stand_in: Any, monkeypatch: pytest.MonkeyPatch):
    """It is told as unreachable, and a view as 503; when it is back, whatever it serves then is opened afresh."""
    monkeypatch.setattr(source_module, "POLL_TIMEOUT", 0.3)
    server = make_stand_in()
    running = server.start()
    explorer = Explorer.of(ServerSource(server.target, "log", Connection(timeout=0.3)), server.target)
    request = asked(point=[1.5], map=None)
    assert explorer.view("log", request)["version"] == 1
    running.stop(None).wait()
    status = explorer.status("log")
    assert (status["reachable"], status["versions"]) == (False, [])
    assert server.target in status["error"]
    code, _, answer = ask(explorer, "POST", "/api/view?model=log", json.dumps(request))
    assert (code, answer["error"]) in [(503, "ServerUnreachable"), (503, "DeadlineExceeded")]
    server.models["log"] = {1: server.models["versions"][2]}
    running = server.start(server.target)
    try:
        until = [explorer.status("log")["reachable"] for _ in range(20)]
        assert until[-1]
        assert explorer.view("log", request)["values"][0]["value"] == str(2 * float(np.log(1.5)))
    finally:
        explorer.close()
        running.stop(None).wait()


@pytest.mark.parametrize("name", ["curved", "log32"])
def test_what_there_is_to_copy_gives_the_same_numbers(
    stand_in: Any, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The command and the program print the numbers of the page."""
    explorer = Explorer.of(ServerSource(stand_in.target, name, Connection()), stand_in.target)
    point = [0.1, -0.7, 1e-7, 0.3] if name == "curved" else [0.7]
    view = explorer.view(name, asked(at="1", point=point, map=None))
    words = shlex.split(view["query"])
    assert words[:5] == ["gradwire", "query", stand_in.target, name, "--version=1"]
    monkeypatch.setattr(sys, "argv", [*words, "--format", "json"])
    with pytest.raises(SystemExit, match="0"):
        main()
    printed = json.loads(capfd.readouterr().out)
    first = view["values"][0]
    assert float(first["value"]) == pytest.approx(np.ravel(printed["f"])[0], rel=1e-7 if name == "log32" else 1e-15)
    assert len(view["python"].splitlines()) <= 10
    program: dict[str, Any] = {}
    exec(view["python"], program)  # the page's own text is what is tested
    computed = program["values"]["f"] if name == "curved" else program["f"]
    assert first["value"] == str(computed)
    explorer.close()


def test_a_connection_is_repeated(tmp_path: Path):
    """TLS, a token's file and metadata go into the command and the program; secrets do not."""
    secured = Connection(ca_file=Path("a b.pem"), server_name="wing", token_file=Path("t"), metadata=["tenant=secret"])
    assert secured.words() == ["--ca-file=a b.pem", "--token-file=t", "--server-name=wing", "--metadata=tenant=…"]
    arguments = secured.python()
    assert "tls=gradwire.TLS('a b.pem', None, None, 'wing')" in arguments
    assert "pathlib.Path('t').read_text()" in arguments
    assert "secret" not in arguments + " ".join(secured.words())
    assert (Connection().words(), Connection().python()) == ([], "")
    assert Connection(tls=True).python() == ", tls=True"


@pytest.mark.parametrize("text", ["newest", "3", "label:stable"])
def test_choices(text: str):
    """Each reads as it is written."""
    assert str(Choice.read(text)) == text


@pytest.mark.parametrize("text", ["", "-1", "label:", "latest", "1.0", "٣"])
def test_what_is_no_choice(text: str):
    """Anything else is refused."""
    with pytest.raises(gradwire.UsageError, match="expected 'newest', a number"):
        Choice.read(text)


def test_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its versions; one that is exported meanwhile is the newest at once."""
    opened: list[str] = []

    def open_model(path: str, name: None, *, connection: Connection) -> gradwire.Model:
        opened.append(Path(path).name)
        return FakeModel(np.exp, np.exp, name="log").connect()

    monkeypatch.setattr(source_module, "open_model", open_model)
    monkeypatch.setattr(source_module, "FRESH", 0.0)
    for version in (1, 2):
        (tmp_path / "log" / str(version)).mkdir(parents=True)
        (tmp_path / "log" / str(version) / GRAPH_FILE).touch()
    explorer = Explorer.of(source_of(str(tmp_path / "log"), None, Connection()), "log")
    view = explorer.view("log", asked(at="newest", beside="1", point=[1.0], map=None))
    assert (view["version"], view["beside"], opened) == (2, 1, ["2", "1"])
    assert f"gradwire.load('{tmp_path}/log')" in view["python"]
    (tmp_path / "log" / "3").mkdir()
    assert explorer.status("log")["newest"] == 3
    assert explorer.view("log", asked(point=[1.0], map=None))["version"] == 3
    with pytest.raises(gradwire.UsageError, match="only servers have labels"):
        explorer.view("log", asked(at="label:stable", point=[1.0], map=None))
    alone = DirectorySource(str(tmp_path / "log" / "2"), Connection())
    assert ([row.version for row in alone.versions()], alone.words(Choice())) == (
        [2],
        ([f"{tmp_path}/log/2"], f"gradwire.load('{tmp_path}/log/2')"),
    )
    with pytest.raises(gradwire.UsageError, match="takes no model name"):
        source_of(str(tmp_path / "log"), "log", Connection())
    with pytest.raises(gradwire.UsageError, match="is not a directory; for an address name the model too"):
        source_of("localhost:8500", None, Connection())


@pytest.mark.skipif(not find_spec("pyarrow"), reason="the client alone has no pyarrow")
def test_samples(tmp_path: Path):
    """They stand beside each curve, the nearest first; a missing label is left out of sight as NaN."""
    path = tmp_path / "samples.csv"
    path.write_text("x,n,y[0],y[1],f\n1.5,2,0.5,0,10\n2.5,2,0.5,0,\n1.5,2,-1,0,30\n")
    with fake_server() as serve:
        serve(
            saddle, saddle_grad, name="saddle", inputs={"x": 1, "n": 1, "y": 2}, outputs={"f": 1, "w": 2}, wrt=["x", "y"],
            domain={"x": (1.0, 3.0), "y": ([-1.0, 0.0], [1.0, 0.0])},
        )  # fmt: skip
        source = source_of("a:1", "saddle", Connection())
        explorer = Explorer.of(source, "a:1", path)
        assert explorer.describe("saddle", "newest")["samples"] == "3 samples of samples.csv"
        view = explorer.view("saddle", asked(point=[1.5, 2.0, 0.5, 0.0], map=None))
        x, f, near = map(unpacked, view["curves"][0]["samples"])
        assert (x.tolist(), near[:2].tolist()) == ([1.5, 2.5, 1.5], [1.0, 1.0])
        assert (f[0], np.isnan(f[1]), f[2]) == (10.0, True, 30.0)
        assert near[2] == pytest.approx(np.exp(-0.5 * (1.5 / 2.0 / 0.15) ** 2))
        assert explorer.view("saddle", asked(output=1, map=None))["curves"][0]["samples"] is None
        path.write_text("x,f\n1,1\n")
        with pytest.raises(gradwire.DataError, match="has no column 'n'"):
            Samples.read(path, explorer.subject("saddle", "newest"))


# The HTTP side.


def ask(explorer: Explorer, method: str, target: str, body: str = "", **headers: str) -> Answer:
    """Put a request to the application; None leaves a header out."""
    path, _, query = target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_HOST": "127.0.0.1:8600",
        "CONTENT_TYPE": "application/json" if method == "POST" else "",
        "CONTENT_LENGTH": str(len(body.encode())),
        "wsgi.input": io.BytesIO(body.encode()),
    } | headers
    started: list[Any] = []
    whole = b"".join(Application(explorer, "127.0.0.1")(environ, lambda *parts: started.append(parts)))
    [(status, pairs)] = started
    found = dict(pairs)
    return (
        int(status.split()[0]),
        found,
        json.loads(whole) if found["Content-Type"] == "application/json" and whole else whole,
    )


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:8600", 200),
        ("localhost:8600", 200),
        ("LOCALHOST", 200),
        ("[::1]:8600", 200),
        ("10.1.2.3:8600", 200),  # an address is no name that a site could lead here
        ("evil.example:8600", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8600", 403),
        ("localhost@evil.example", 403),
        ("", 403),
    ],
)
def test_a_request_names_this_machine(explorer: Explorer, host: str, code: int):
    """A site whose name is led to 127.0.0.1 (DNS rebinding) reads nothing, neither page nor numbers."""
    for target in ("/", "/api/models", "/api/describe?model=saddle"):
        assert ask(explorer, "GET", target, HTTP_HOST=host)[0] == code
    assert ask(explorer, "POST", "/api/view?model=saddle", json.dumps(asked()), HTTP_HOST=host)[0] == code


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "code"),
    [
        ("POST", "/api/view?model=saddle", json.dumps(asked()), {"HTTP_ORIGIN": "http://127.0.0.1:8600"}, 200),
        ("POST", "/api/view?model=saddle", json.dumps(asked()), {"HTTP_ORIGIN": "http://evil.example"}, 403),
        ("POST", "/api/view?model=saddle", json.dumps(asked()), {"HTTP_ORIGIN": "null"}, 403),
        ("POST", "/api/view?model=saddle", json.dumps(asked()), {"CONTENT_TYPE": "text/plain"}, 415),
        ("POST", "/api/view?model=saddle", "{", {}, 400),
        ("POST", "/api/view?model=saddle", "[" * 60_000, {}, 400),
        ("POST", "/api/view?model=saddle", " " * (LARGEST + 1), {}, 413),
        ("POST", "/api/view?model=saddle", "", {"CONTENT_LENGTH": "-1"}, 413),
        ("POST", "/api/view?model=other", json.dumps(asked()), {}, 404),
        ("POST", "/", "", {}, 405),
        ("PUT", "/api/view", "", {}, 405),
        ("GET", "/api/view", "", {}, 404),
        ("GET", "/../explorer.py", "", {}, 404),
        ("GET", "/uplot/../../explorer.py", "", {}, 404),
        ("GET", "/api/describe?model=saddle&at=latest", "", {}, 400),
        ("GET", "/api/card?model=saddle", "", {}, 200),
        ("POST", "/api/verify?model=saddle", "{}", {}, 200),
        ("HEAD", "/", "", {}, 200),
    ],
)
def test_requests(explorer: Explorer, method: str, target: str, body: str, headers: dict[str, str], code: int):
    """What is not the page's own request is refused, and every answer carries the whole policy."""
    status, found, answer = ask(explorer, method, target, body, **headers)
    assert status == code, answer
    assert dict(HEADERS).items() <= found.items()
    assert "unsafe" not in found["Content-Security-Policy"]
    assert "http" not in found["Content-Security-Policy"]


@pytest.mark.parametrize(
    "change",
    [
        {"point": [1.0]},
        {"point": [1.0, 2.0, 0.5, None]},
        {"point": [1.0, 2.0, 0.5, "1"]},
        {"point": [1.0, 2.0, 0.5, True]},
        {"point": [1.0, 2.0, 0.5, 10**400]},
        {"point": [1.0, 2.0, 0.5, float("nan")]},
        {"point": {}},
        {"output": 3},
        {"output": -1},
        {"output": 1.0},
        {"map": [0]},
        {"map": [0, 9]},
        {"map": "01"},
        {"at": 1},
        {"beside": None},
        {"more": 1},
    ],
)
def test_views_of_another_form(explorer: Explorer, change: dict[str, Any]):
    """Each is refused before anything is called."""
    assert ask(explorer, "POST", "/api/view?model=saddle", json.dumps(asked(**change)))[0] == 400


def test_the_page_is_its_own(explorer: Explorer):
    """Every file that it names is among those that are served; no script, style or handler is inline."""
    for path in FILES:
        code, _, body = ask(explorer, "GET", path)
        assert code == 200
        text = body.decode()
        if "uplot" not in path:
            assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == [], path
            assert re.findall(r"innerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text) == [], path
    page = ask(explorer, "GET", "/")[2].decode()
    assert {f"/{name}" for name in re.findall(r'(?:src|href)="([^"#][^"]*)"', page)} <= FILES.keys()
    assert re.findall(r"<style|style=|\son\w+=|<script(?![^>]*\bsrc=)", page) == []
    for path in (name for name in FILES if name.endswith(".js") and "uplot" not in name):
        modules = re.findall(r'from "\./([\w.]+)"', ask(explorer, "GET", path)[2].decode())
        assert {f"/{name}" for name in modules} <= FILES.keys()


def test_what_a_card_says_stays_text():
    """Names and units of a stranger's card reach the page in JSON alone, without characters that act unseen."""
    card = gradwire.Card(
        name=HOSTILE,
        inputs=(gradwire.CardTensor("x", "float64", (1,), unit=HOSTILE),),
        outputs=(gradwire.CardTensor("f", "float64", (1,), unit=HOSTILE),),
        derivatives={"f": {"x": "df_dx"}},
        signatures=("serving_default", "card"),
        trained={HOSTILE: HOSTILE},
    )
    functions = {"serving_default": lambda x: {"f": x, "df_dx": 0 * x + 1}}
    model = gradwire.Model(gradwire.FakeTransport(functions, card=card))
    explorer = Explorer.of(One(model), HOSTILE)
    for method, target, body in (
        ("GET", "/api/models", ""),
        ("GET", "/api/describe?model=one", ""),
        ("GET", "/api/card?model=one", ""),
        ("POST", "/api/view?model=one", json.dumps(asked(point=[0.5], map=None))),
    ):
        code, found, answer = ask(explorer, method, target, body)
        assert (code, found["Content-Type"]) == (200, "application/json")
        assert not {"\u202e", "\x1b"} & set(json.dumps(answer, ensure_ascii=False)), target


@pytest.mark.skipif(not find_spec("waitress"), reason="the client alone has no waitress")
def test_a_server_of_the_page(explorer: Explorer):
    """It listens on this machine; a port that is taken is said."""
    from http.client import HTTPConnection

    server = PageServer(Application(explorer, "127.0.0.1"), "127.0.0.1", 0)
    server.start()
    host, _, port = server.url.removeprefix("http://").partition(":")
    try:
        connection = HTTPConnection(host, int(port), timeout=20)
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, b"gradwire explore" in response.read()) == (200, True)
        assert response.getheader("Server") is None
        connection.close()
        with pytest.raises(
            gradwire.UsageError, match=r"cannot be served at 127.0.0.1:\d+ .*: choose another port, or 0"
        ):
            PageServer(Application(explorer, "127.0.0.1"), "127.0.0.1", int(port))
    finally:
        server.stop()


@pytest.mark.skipif(not find_spec("waitress"), reason="the client alone has no waitress")
def test_the_command(stand_in: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """It says where the page is, and opens it, unless told not to."""
    seen: list[str] = []
    monkeypatch.setattr(command.webbrowser, "open", seen.append)
    monkeypatch.setattr(command.PageServer, "run", lambda server: seen.append("ran") or server._server.close())
    for more in ([], ["--no-browser"]):
        monkeypatch.setattr(sys, "argv", ["gradwire", "explore", stand_in.target, "log", "--port", "0", *more])
        with pytest.raises(SystemExit, match="0"):
            main()
    shown = capfd.readouterr().out
    assert [url.startswith("http://127.0.0.1:") for url in seen] == [True, False, False]
    assert f"exploring log of {stand_in.target} on {seen[0]}, Ctrl-C stops it" in shown


@pytest.mark.skipif(not find_spec("waitress"), reason="the client alone has no waitress")
def test_a_page_beside_a_server(stand_in: Any, capfd: pytest.CaptureFixture[str]):
    """`gradwire serve --explore` serves a page of every model that there is, those that come later as well."""
    models = {"log": [1]}
    server = SimpleNamespace(address=stand_in.target, rest_address=None, available=lambda: models)
    page = serve._start_page(server, 0)
    try:
        models["multi"] = [1]
        with urlopen(f"{page.url}/api/models") as response:
            assert json.load(response) == {"where": stand_in.target, "models": ["log", "multi"]}
        with urlopen(f"{page.url}/api/describe?model=multi") as response:
            assert [each["label"] for each in json.load(response)["outputs"]] == ["f", "g", "w[0]", "w[1]", "w[2]"]
    finally:
        page.stop()
    with pytest.raises(gradwire.UsageError, match="leave out --explore"):
        serve.command(print_command=True, explore=True, engine="embedded", directory=Path())


def test_the_command_needs_its_extra(monkeypatch: pytest.MonkeyPatch, explorer: Explorer):
    """Without waitress it says what to install."""
    monkeypatch.setitem(sys.modules, "waitress", None)
    with pytest.raises(gradwire.MissingExtra, match=r"gradwire\[explore\]"):
        PageServer(Application(explorer, "127.0.0.1"), "127.0.0.1", 0)
