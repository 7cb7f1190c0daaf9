"""An ONNX file in a browser: onnxruntime-web gets the f and df/dx that a Session gets, from the one file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tests.export.worker import started

import gradwire
from gradwire_export import convert, export
from gradwire_export._checks import model_check

pytest.importorskip("onnxruntime", reason="ONNX is in the environment of the bridges")

agreement = import_module("gradwire_export._conversion.agreement")  # its folder's name for it is the function

ASSETS = Path(__file__).parents[2] / "build" / "onnxruntime-web" / "package" / "dist"
NEEDED = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
WEIGHTS = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
# Runs a file at points, as a page would.
RUN = """async ([file, dtype, rows, size, numbers]) => {
    const ort = await import("/ort.wasm.min.mjs");
    ort.env.wasm.numThreads = 1;
    const session = await ort.InferenceSession.create(file);
    const array = dtype === "float64" ? Float64Array.from(numbers) : Float32Array.from(numbers);
    const results = await session.run({ x: new ort.Tensor(dtype, array, [rows, size]) });
    return Object.fromEntries(Object.entries(results).map(([name, each]) => [name, [each.dims, Array.from(each.data)]]));
}"""


def network(x):
    """A network of three inputs and two outputs, in float32."""
    return tf.tanh(x @ tf.constant(WEIGHTS)) @ tf.constant(WEIGHTS[:2].T)


class Handler(SimpleHTTPRequestHandler):
    """Serves a directory in silence, with the types that browsers insist on."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The address and the directory of a page, with files of a logarithm and a network; their packages beside them."""
    if missing := [name for name in NEEDED if not (ASSETS / name).exists()]:
        pytest.skip(f"onnxruntime-web is not here ({', '.join(missing)}): `make test-browser` fetches it where npm is")
    root = tmp_path_factory.mktemp("site")
    for name in NEEDED:
        (root / name).symlink_to(ASSETS / name)
    (root / "index.html").write_text("<!doctype html><link rel=icon href='data:,'><title>ONNX</title>")
    with started() as worker, pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_check, "run_fresh", worker)
        patch.setattr(agreement, "run_fresh", worker)
        scalar, three = tf.TensorSpec((None, 1), tf.float64), tf.TensorSpec((None, 3), tf.float32)
        export(tf.math.log, to=root / "log", inputs={"x": scalar}, domain={"x": (0.1, 1.9)}, signatures=[])
        export(network, to=root / "network", inputs={"x": three}, domain={"x": (-1, 1)}, signatures=["hessian"])
        convert(root / "log", to=root / "log.onnx")
        convert(root / "network", to=root / "network.onnx", graph="hessian")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", root
    server.shutdown()
    thread.join()
    server.server_close()


def in_browser(new_page, address: str, file: str, x: np.ndarray) -> dict[str, np.ndarray]:
    """What the graph of a file returns at points, in a page."""
    page = new_page()
    page.goto(address)
    results = page.evaluate(RUN, [file, x.dtype.name, *x.shape, x.ravel().tolist()])
    return {name: np.array(data, x.dtype).reshape(dims) for name, (dims, data) in results.items()}


@pytest.mark.parametrize("rows", [1000, 1, 0])
def test_a_logarithm_in_float64_has_its_derivative_in_a_browser(site, new_page, rows):
    """To the last bit or the one beside it; of no rows nothing."""
    x = np.random.default_rng(0).uniform(0.1, 1.9, (rows, 1))
    results = in_browser(new_page, site[0], "/log.onnx", x)
    assert results.keys() == {"f", "df_dx"}
    assert results["f"].shape == (rows, 1)
    if rows:
        np.testing.assert_array_max_ulp(results["f"], np.log(x), 1)
        np.testing.assert_array_max_ulp(results["df_dx"], 1 / x, 1)


def test_second_derivatives_of_a_network_are_those_of_the_package(site, new_page):
    """A file whose graph is the Hessian, at 257 rows, beside a Session: within a few units in the last place."""
    address, root = site
    x = np.random.default_rng(1).uniform(-1, 1, (257, 3)).astype(np.float32)
    results = in_browser(new_page, address, "/network.onnx", x)
    with gradwire.load(root / "network") as model:
        expected = model.predict("hessian", x=x)
    assert results.keys() == expected.keys()
    for name, array in expected.items():
        assert results[name].shape == array.shape
        assert np.abs(results[name] - array).max() <= 16 * np.spacing(np.abs(array).max())
