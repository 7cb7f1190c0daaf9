"""The whole path, by the commands: train, export, serve, query, card, verify, batch."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

import gradwire as client
from gradwire.batch import BLOCK_ROWS

pytestmark = pytest.mark.slow  # trains, exports and serves first, and then starts a process per command

POINTS = "x=0.5; 1.0; 1.5"


def test_train_leaves_a_result_that_says_how_to_repeat_it(workplace):
    """The directory holds the model, the record, the history, the samples, and the pictures."""
    files = {path.name for path in (workplace / "build/log").iterdir()}
    assert files >= {"model.keras", "fit.json", "history.csv", "samples.npz"}
    assert len([name for name in files if name.endswith(".png")]) == 4
    record = json.loads((workplace / "build/log/fit.json").read_text())
    assert record["trained"]["seed"] == 0
    assert record["errors"]["f"]["max"] < 5e-4
    assert record["errors"]["df_dx"]["max"] < 2e-2


def test_served_values_and_derivatives_are_those_of_the_logarithm(address):
    """Over gRPC |f - log x| <= 5e-4 and |df_dx - 1/x| <= 2e-2 on all of [0.1, 1.9]."""
    x = np.linspace(0.1, 1.9, 2001)
    with client.connect(address, "log") as log:
        f, df_dx = log.value_and_grad(x)
    assert np.abs(f - np.log(x)).max() <= 5e-4
    assert np.abs(df_dx - 1 / x).max() <= 2e-2


def test_a_package_gives_the_same_in_process_and_over_grpc(workplace, address):
    """One Model, two transports, the same bits."""
    x = np.random.default_rng(0).uniform(0.1, 1.9, 300)
    with client.connect(address, "log") as remote, client.load(workplace / "models/log") as local:
        for ours, theirs in zip(remote.value_and_grad(x), local.value_and_grad(x), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_stock_stubs_get_what_the_client_gets(address):
    """tensorflow_serving.apis, decoded by TensorFlow, and gradwire.connect: the same bits of the same tensors."""
    x = np.random.default_rng(1).uniform(0.1, 1.9, (50, 1)).astype(np.float32)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "log"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
    with grpc.insecure_channel(address) as channel:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
    with client.connect(address, "log") as log:
        ours = log.predict("serving_default", x=x)
    assert ours.keys() == set(response.outputs)
    for name, tensor in response.outputs.items():
        stock = tf.make_ndarray(tensor)
        assert stock.dtype == ours[name].dtype
        np.testing.assert_array_equal(stock, ours[name])


@pytest.mark.parametrize("where", ["address", "directory"])
def test_query_prints_a_table_json_and_csv(workplace, address, where, gradwire_here):
    """The three forms hold the same numbers, from a server and from a directory."""
    target = [address, "log"] if where == "address" else ["models/log"]
    words = ["query", *target, "--input", POINTS]
    as_json = json.loads(gradwire_here(*words, "--format", "json", cwd=workplace).stdout)
    as_csv = list(csv.DictReader(io.StringIO(gradwire_here(*words, "--format", "csv", cwd=workplace).stdout)))
    table = gradwire_here(*words, cwd=workplace).stdout
    assert list(as_json) == ["x", "f", "df_dx"]
    np.testing.assert_allclose(as_json["f"], np.log([0.5, 1.0, 1.5]), atol=5e-4)
    for name, column in as_json.items():
        assert column == [float(row[name]) for row in as_csv]
        assert all(f"{float(row[name]):.6g}" in table for row in as_csv)  # for people: as many digits as float32 has


def test_query_reads_points_from_a_file(workplace, address, gradwire_here):
    """x=@points.csv takes the column of that name."""
    (workplace / "points.csv").write_text("id,x\n7,0.5\n8,1.5\n")
    done = gradwire_here("query", address, "log", "--input", "x=@points.csv", "--format", "json", cwd=workplace)
    assert json.loads(done.stdout)["x"] == [0.5, 1.5]


def test_card_is_the_same_from_everywhere(workplace, address, gradwire_here):
    """A server with no access to files gives the package's own card."""
    remote = gradwire_here("card", address, "log", "--json", cwd=workplace).stdout
    local = gradwire_here("card", "models/log", "--json", cwd=workplace).stdout
    assert remote == local == (workplace / "models/log/1/assets/card.json").read_text()
    shown = gradwire_here("card", "models/log", cwd=workplace).stdout
    assert "0.1" in shown
    assert "df_dx" in shown


@pytest.mark.parametrize("where", ["address", "directory"])
def test_verify_passes_and_tells_wiring_from_training(workplace, address, where, gradwire_here):
    """The Taylor test passes; the trained function's own errors are shown apart."""
    target = [address, "log"] if where == "address" else ["models/log"]
    (workplace / "rows.csv").write_text("x,note\n0.1,first\n1.9,last\n1,middle\n")
    shown = gradwire_here("verify", *target, "--rows", "rows.csv", cwd=workplace).stdout
    assert "log: 3 points, seed 0" in shown
    assert "errors of the trained function against" in shown


def test_batch_adds_columns_and_keeps_the_rest(workplace, address, gradwire_here):
    """In process and through the server: the same rows, f and df_dx beside them, other columns as they were."""
    x = np.linspace(0.1, 1.9, 70_001)  # more than a block
    pq.write_table(pa.table({"id": np.arange(x.size), "x": x}), workplace / "points.parquet")
    gradwire_here("batch", "points.parquet", "local.parquet", "--model", "models/log", cwd=workplace)
    gradwire_here("batch", "points.parquet", "remote.parquet", "--server", address, "--name", "log", cwd=workplace)
    local, remote = (pq.read_table(workplace / name) for name in ("local.parquet", "remote.parquet"))
    assert local.column_names == ["id", "x", "f", "df_dx"]
    assert local.schema.field("f").type == pa.float32()
    assert local["id"].to_pylist() == list(range(x.size))
    np.testing.assert_allclose(local["f"].to_numpy(), np.log(x), atol=5e-4)
    np.testing.assert_allclose(local["df_dx"].to_numpy(), 1 / x, atol=2e-2)
    with client.load(workplace / "models" / "log") as model:
        blocks = [model.value_and_grad(x[first : first + BLOCK_ROWS]) for first in range(0, x.size, BLOCK_ROWS)]
    for table in (local, remote):  # to the last bit
        for name, arrays in zip(("f", "df_dx"), zip(*blocks, strict=True), strict=True):
            np.testing.assert_array_equal(table[name].to_numpy(), np.concatenate(arrays))


def test_a_new_version_is_served_and_ctrl_c_drains(workplace, tmp_path, gradwire, serve):
    """A running server picks up the next export; the first signal ends it with exit code 0."""
    (tmp_path / "models").mkdir()
    gradwire("export", workplace / "build/log", "--to", "models/log", cwd=tmp_path)
    with (
        serve("models", "--file_system_poll_wait_seconds=1", cwd=tmp_path) as server,
        client.connect(server.address, "log") as log,
    ):
        assert [(row.version, row.state) for row in log.status()] == [(1, "AVAILABLE")]
        gradwire("export", workplace / "build/log", "--to", "models/log", cwd=tmp_path)
        deadline = time.monotonic() + 30
        while log.status()[0][:2] != (2, "AVAILABLE") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert log.status()[0][:2] == (2, "AVAILABLE")
        assert np.isfinite(log.value(1.0))
    assert server.returncode == 0
    assert "calls in flight have" in server.rest
    example = re.search(r"gradwire (query \S+ log --input) \"(x=1)\"", server.rest)
    assert example, server.rest  # the middle of the domain, to copy and paste


def test_print_command_shows_what_would_run(workplace, gradwire_here):
    """The real engines' command lines are shown and not run."""
    for engine in ("tensorflow_model_server", "docker"):
        words = f"serve models --engine {engine} --print-command --enable_batching=true --port=8501".split()
        shown = gradwire_here(*words, cwd=workplace).stdout
        assert "--enable_batching" in shown
        assert "8501" in shown


def test_training_stops_on_ctrl_c_and_keeps_what_it_has(tmp_path):
    """Ctrl-C ends the fit, says so, and leaves a complete result."""
    gradwire = Path(sys.executable).with_name("gradwire")
    words = [gradwire, "train", "log", "--optimizer", "sgd", "--max-steps", "1000000000", "--to", "build/log"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    seen = ""
    for line in process.stderr:
        seen += line
        if re.search(r"\d+/1000000000", line):
            break
    os.kill(process.pid, signal.SIGINT)
    out, rest = process.communicate(timeout=120)
    assert process.returncode == 0, seen + out + rest
    assert "interrupted" in out + seen + rest
    assert json.loads((tmp_path / "build/log/fit.json").read_text())["trained"]["status"] == "interrupted"
