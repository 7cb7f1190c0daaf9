"""How near value and derivatives come to the limit: every engine beside its anchor, its error, how its cost grows."""

from __future__ import annotations

import ctypes
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks._report import Measured, Report
from gradwire._package import SERVING_DEFAULT

NETWORKS: Final = ((1, 20, 20, 1), (10, 128, 128, 1), (3, 64, 64, 200))
ROWS: Final = (1, 64, 4_096, 65_536, 1_000_000)
LARGEST: Final = 1 << 24  # numbers of a response: the rest of a row of the table is left out
THREADS: Final = (1, 2)
RUNS: Final = 7
STARTS: Final = 5
REFERENCE_ROWS: Final = 4_096
DOMAIN: Final = {"x": (-1.0, 1.0)}
ONE_ROW: Final = "C99, one row a call"
NAIVE: Final = "naive value"  # of a SavedModel that Keras would write, in one run
STEPS: Final = (1, 10, 100, 1_000)
GROWTH: Final = {"rows": 1_000, "inputs": 1, "outputs": 1, "width": 1, "depth": 1}  # what each is multiplied from
BASE: Final = {"rows": 256, "inputs": 4, "outputs": 1, "width": 16, "depth": 2}  # what is not grown
GROWN: Final = Path(__file__).parents[1] / "docs" / "pictures" / "speed_growth.svg"
# Of one row in C: the file of `gradwire convert`, and a loop around it.
LOOP: Final = """
#include "kernel.c"
void rows(long n, const float *x, float *f, float *g)
{{ for (long i = 0; i < n; i++) kernel_serving_default(x + i * {first}, {outputs}); }}
"""

Call = Callable[[], Any]


def main(*, write: bool) -> None:
    """Measure each number of threads in a process of its own, which sees so many cores."""
    tables: dict[int, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        _export(Path(directory))
        for threads in THREADS:
            tables[threads] = _in_process(["engines", directory], threads)
    _engines(tables).show(write=write)
    _errors(tables[THREADS[-1]]["ulp"]).show(write=write)
    _start_up().show(write=write)
    times = {
        name: {int(at): each for at, each in column.items()} for name, column in _in_process(["growth"], 1).items()
    }
    _growth(times).show(write=write)
    if write:
        _draw(times)
    from benchmarks import jacobians

    jacobians.main(write=write)


def _in_process(arguments: list[str], threads: int) -> Any:
    """Run a part of this file on some cores, and return what it prints last."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    program = (
        f"import os, sys; os.sched_setaffinity(0, {cores}); from benchmarks import speed; print(); "
        f"print(speed.dumped({arguments!r}, {len(cores)}))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": str(len(cores)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def dumped(arguments: list[str], threads: int) -> str:
    """Measure a part, in the process that was started for it, and return it as JSON."""
    what, *rest = arguments
    return json.dumps(measure_growth() if what == "growth" else measure_engines(Path(rest[0]), threads))


def _name(sizes: tuple[int, ...]) -> str:
    return "-".join(map(str, sizes))


def _export(directory: Path) -> None:
    """Write each network as packages, as Keras would, and as C."""
    import tensorflow as tf

    from benchmarks.native import network
    from gradwire_export import convert, export

    for sizes in NETWORKS:
        model, place = network(sizes), directory / _name(sizes)
        export(model, to=place / "plain", domain=DOMAIN, signatures=())
        export(model, to=place / "xla", domain=DOMAIN, signatures=(), compile="xla")
        convert(place / "plain", to=place / "kernel.c")
        if find_spec("onnxruntime") is not None:
            convert(place / "plain", to=place / "log.onnx")
        module = tf.Module()
        module.held = [variable.value for variable in model.variables]
        value = tf.function(lambda x, model=model: {"f": model(x)}, input_signature=[tf.TensorSpec([None, sizes[0]])])
        tf.saved_model.save(module, str(place / "naive"), signatures={"value": value})
        np.savez(place / "weights.npz", *[variable.numpy() for variable in model.variables])


def measure_engines(directory: Path, threads: int) -> dict[str, Any]:
    """Return seconds a call by network, rows and engine, and each engine's error by network."""
    import gradwire
    from benchmarks.native import interleaved
    from gradwire_serving import Servable

    seconds: dict[str, dict[str, dict[str, list[float]]]] = {}
    ulp: dict[str, dict[str, list[list[float]]]] = {}
    os.environ["XDG_CACHE_HOME"] = str(directory / "cache")
    for sizes in NETWORKS:
        place, (first, *_, last), name = directory / _name(sizes), sizes, _name(sizes)
        models = {
            "TensorFlow": gradwire.load(place / "plain"),
            "XLA": gradwire.load(place / "xla"),
            "native": gradwire.load(place / "plain", engine="native"),
        }
        if (place / "log.onnx").exists():
            models["ONNX Runtime"] = gradwire.load(place / "log.onnx")
        naive, loop = Servable.load(place / "naive"), _loop(place, sizes)
        x = np.random.default_rng(0).uniform(-1, 1, (max(ROWS), first)).astype(np.float32)
        reference = _reference(place, x[:REFERENCE_ROWS])
        engines = {engine: each.value_and_grad for engine, each in models.items()} | {ONE_ROW: loop}
        if last == 1 and find_spec("numba") is not None:
            from benchmarks._numba import compiled

            with np.load(place / "weights.npz") as arrays:
                engines["numba, one thread"] = compiled([arrays[key] for key in arrays.files])
        ulp[name] = {engine: _ulp(each(x[:REFERENCE_ROWS]), reference) for engine, each in engines.items()}
        seconds[name] = {}
        for rows in ROWS:
            if rows * first * last > LARGEST:
                continue
            calls: dict[str, Call] = {NAIVE: lambda some=x[:rows], naive=naive: naive.run("value", {"x": some})}
            calls |= {
                engine: lambda some=x[:rows], each=each: each(some)
                for engine, each in engines.items()
                if engine != ONE_ROW or rows < max(ROWS)  # whose rate is the same for any number of rows
            }
            clock = time.process_time if threads == 1 else time.perf_counter
            seconds[name][str(rows)] = interleaved(calls, rows, runs=RUNS, clock=clock)
        for each in (*models.values(), naive):
            each.close()
    return {"seconds": seconds, "ulp": ulp, "threads": threads}


def _loop(place: Path, sizes: tuple[int, ...]) -> Callable[[Any], Any]:
    """Return value and derivatives by the file of C99, row after row on one thread."""
    from gradwire_export._native.library import compile_library

    first, *_, last = sizes
    outputs = [f"f + i * {last}", f"g + i * {first * last}"]
    text = (place / "kernel.c").read_text()
    prototype = next(line for line in text.splitlines() if "kernel_serving_default(" in line)
    if prototype.index("df_dx") < prototype.index(" f["):
        outputs.reverse()
    (place / "loop.c").write_text(LOOP.format(first=first, outputs=", ".join(outputs)))
    compile_library(place / "loop.c", place / "loop.so")
    rows = ctypes.CDLL(str(place / "loop.so")).rows

    def run(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        f, g = np.empty((len(x), last), np.float32), np.empty((len(x), last * first), np.float32)
        rows(ctypes.c_long(len(x)), *(ctypes.c_void_p(each.ctypes.data) for each in (x, f, g)))
        return f, g

    return run


def _reference(place: Path, x: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute value and Jacobian in float64, from the weights as they are, by tangents."""
    with np.load(place / "weights.npz") as arrays:
        weights = [arrays[key].astype(np.float64) for key in arrays.files]
    value, tangents = x.astype(np.float64), np.broadcast_to(np.eye(x.shape[1]), (len(x), x.shape[1], x.shape[1]))
    for index in range(0, len(weights), 2):
        value, tangents = value @ weights[index] + weights[index + 1], tangents @ weights[index]
        if index + 2 < len(weights):
            value = np.tanh(value)
            tangents = tangents * (1 - value**2)[:, None, :]
    return value, tangents.transpose(0, 2, 1)


def _ulp(found: tuple[Any, Any], reference: tuple[Any, Any]) -> list[list[float]]:
    """Return, of the value and the derivatives, the median and the largest error, in float32's ulp.

    Of the median an ulp is that of the number itself; of the largest, that of the largest number of the tensor, for a
    sum that cancels is as wrong as its terms.
    """
    errors = []
    for own, exact in zip(found, reference, strict=True):
        distance = np.abs(np.asarray(own, np.float64).reshape(exact.shape) - exact)
        each = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
        scale = float(np.spacing(np.float32(np.abs(exact).max())))
        errors.append([float(np.median(distance / each)), float(distance.max() / scale)])
    return errors


def _engines(tables: dict[int, dict[str, Any]]) -> Report:
    rows: list[list[str]] = []
    for name in map(_name, NETWORKS):
        for threads, table in tables.items():
            seconds = table["seconds"][name]
            for engine in next(iter(seconds.values())):
                cells = [_cell(seconds.get(str(count)), engine, count) for count in ROWS]
                rows.append([name, str(threads), engine, *cells])
    return Report(
        name="speed",
        title="Value and all first derivatives in one call, each engine beside the value alone",
        method=(
            f"float32; `Model.value_and_grad`, and for the last two C and a Session alone: median (range) of {RUNS} "
            "interleaved runs; a process for each number of threads, which sees so many cores. On one thread processor time, "
            "which other work on the machine disturbs little, on two wall time. One row in µs, else million rows a second. In brackets the median ratio of its time to the naive value's, run by run: below 1, value and "
            "derivatives take less than the value of a naive SavedModel in one `run`."
        ),
        columns=["network", "threads", "engine", *(f"{rows:,} rows" for rows in ROWS)],
        rows=rows,
        data={str(threads): table["seconds"] for threads, table in tables.items()},
    )


def _cell(times: dict[str, list[float]] | None, engine: str, rows: int) -> str:
    if times is None or engine not in times:
        return ""
    ratio = np.median([own / other for own, other in zip(times[engine], times[NAIVE], strict=True)])
    unit, values = (
        ("µs", [1e6 * each for each in times[engine]])
        if rows == 1
        else ("M/s", [rows / each / 1e6 for each in times[engine]])
    )
    return f"{Measured(tuple(values), unit)} [{ratio:.2f}]"


def _errors(ulp: dict[str, dict[str, list[list[float]]]]) -> Report:
    cells = [
        [name, engine, *(f"{median:.2f} / {largest:.1f}" for median, largest in parts)]
        for name, engines in ulp.items()
        for engine, parts in engines.items()
    ]
    return Report(
        name="speed_errors",
        title="Error of every engine against float64",
        method=(
            f"{REFERENCE_ROWS:,} rows, the same weights in NumPy's float64: median error in units in the last place of the "
            "number itself / largest error in those of the largest number of the tensor."
        ),
        columns=["network", "engine", "value", "derivatives"],
        rows=cells,
    )


def _start_up() -> Report:
    """Time the commands beside what they cannot do without."""
    from benchmarks.native import network

    command = Path(sys.executable).with_name("gradwire")
    export, serve = "gradwire export, 1-20-20-1", "gradwire serve, until it answers"
    with tempfile.TemporaryDirectory() as directory:
        model, models = Path(directory, "log.keras"), Path(directory, "models")
        network(NETWORKS[0]).save(model)
        program = [sys.executable, "-c"]
        runs: dict[str, list[str | Path]] = {
            "import tensorflow": [*program, "import tensorflow"],
            "import tensorflow, without Keras": [
                *program,
                "import sys; sys.modules['keras'] = None; import tensorflow",
            ],
            export: [command, "export", model, "--to", models / "log"],
            serve: [command, "serve", models, "--engine", "embedded", "--port", "0"],
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(STARTS):
            for name, each in runs.items():
                began = time.perf_counter()
                with subprocess.Popen(each, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
                    assert process.stdout is not None
                    is_serving = any(name == serve and "serving on " in line for line in process.stdout)
                    times[name].append(time.perf_counter() - began)
                    process.terminate()
                    assert is_serving or process.wait() == 0
            shutil.rmtree(models)  # the next export is version 1 again
    times["from the command to served"] = list(np.add(times[export], times[serve]))
    floor = times["import tensorflow"]
    return Report(
        name="speed_start",
        title="From the command to a server that answers",
        method=(
            f"Seconds of wall time, median (range) of {STARTS} interleaved runs, and as a multiple of the import, run by "
            "run. The server answers where it says so: each version is loaded and warmed up."
        ),
        columns=["what", "time", "÷ import"],
        rows=[
            [name, Measured(tuple(each), "s"), f"{np.median(np.divide(each, floor)):.2f}"]
            for name, each in times.items()
        ],
    )


def measure_growth() -> dict[str, dict[int, list[float]]]:
    """Return seconds of value and derivatives as each size grows, on one thread, without what an export checks."""
    from benchmarks.native import interleaved
    from gradwire_serving import Servable

    times: dict[str, dict[int, list[float]]] = {}
    for grown in GROWTH:
        times[grown] = {}
        for step in STEPS:
            sizes = BASE | {grown: GROWTH[grown] * step}
            with tempfile.TemporaryDirectory() as directory:
                _save(sizes, directory)
                servable = Servable.load(Path(directory))
            random = np.random.default_rng(0)
            x = random.uniform(-1, 1, (sizes["rows"], sizes["inputs"])).astype(np.float32)
            call = {grown: lambda x=x, servable=servable: servable.run("", {"x": x})}
            times[grown][GROWTH[grown] * step] = interleaved(call, sizes["rows"], runs=RUNS, clock=time.process_time)[
                grown
            ]
            servable.close()
    return times


def _save(sizes: dict[str, int], directory: str) -> None:
    """Save `serving_default` of a network as export writes it."""
    import tensorflow as tf

    from gradwire_export._package import package_spec, signature_body
    from gradwire_export._package.blocks import in_blocks, trace
    from gradwire_export._sources import function_of

    random = np.random.default_rng(0)
    widths = [sizes["inputs"], *[sizes["width"]] * sizes["depth"], sizes["outputs"]]
    module = tf.Module()
    module.held = [
        tf.Variable(tf.constant(random.normal(size=(n, m)) / math.sqrt(n), tf.float32)) for n, m in pairwise(widths)
    ]

    def network(x: Any) -> Any:
        *hidden, last = module.held
        for weights in hidden:
            x = tf.tanh(x @ weights)
        return {"f": x @ last}

    function = function_of(network, inputs={"x": tf.TensorSpec([None, sizes["inputs"]], tf.float32)})
    spec = package_spec(function, (), ())
    specs, repeats = spec.inputs(SERVING_DEFAULT), spec.n_repeats(SERVING_DEFAULT)
    body = in_blocks(signature_body(spec, SERVING_DEFAULT), specs, n_repeats=repeats)
    tf.saved_model.save(module, directory, signatures={SERVING_DEFAULT: trace(body, specs)})


def _growth(times: dict[str, dict[int, list[float]]]) -> Report:
    rows = [
        [
            name,
            ", ".join(f"{other} {size}" for other, size in BASE.items() if other != name),
            *(str(Measured(tuple(1e3 * each for each in column[at]), "ms")) for at in column),
            f"{_exponent(column):.2f}",
            f"{_exponent(column, last=2):.2f}",
        ]
        for name, column in times.items()
    ]
    return Report(
        name="speed_growth",
        title="How the cost of value and all derivatives grows",
        method=(
            f"TensorFlow on one thread, processor time, median (range) of {RUNS} runs as one size grows tenfold three times, from "
            f"{', '.join(f'{name} {size:,}' for name, size in GROWTH.items())}. The exponents are those of a power law "
            "fitted to all four, and over the last tenfold."
        ),
        columns=["size", "the others", "first", "10 times", "100 times", "1,000 times", "exponent", "of the last"],
        rows=rows,
        data=times,
    )


def _exponent(column: dict[int, list[float]], last: int = len(STEPS)) -> float:
    at, medians = np.log(list(column)), np.log([np.median(each) for each in column.values()])
    return float(np.polyfit(at[-last:], medians[-last:], 1)[0])


def _draw(times: dict[str, dict[int, list[float]]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams |= {"svg.hashsalt": "gradwire", "svg.fonttype": "none"}
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for (name, column), marker in zip(times.items(), "osD^v", strict=True):
        medians = 1e3 * np.array([np.median(each) for each in column.values()])
        label = f"{name}: exponent {_exponent(column):.2f}, of the last tenfold {_exponent(column, last=2):.2f}"
        axes.loglog(STEPS, medians, marker=marker, label=label)
        low, high = ([1e3 * end(each) for each in column.values()] for end in (min, max))
        axes.fill_between(STEPS, low, high, alpha=0.15)
    axes.set_xlabel("times the first size")
    axes.set_ylabel("value and all first derivatives, ms")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(GROWN, metadata={"Date": None})
    plt.close(figure)
