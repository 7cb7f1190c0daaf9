"""What value and derivative cost in process, in each variant that was tried for the graph."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks._report import Measured, Report
from gradwire_export._derivatives.repeated_rows import row_derivatives
from gradwire_export._package.blocks import block_rows, split, trace
from gradwire_export._package.xla import compiled
from gradwire_export._sources.function import Function, function_of
from gradwire_serving import Servable

MILLION = 1_000_000
BLOCK = 65_536
RUNS = 15
LESS_RUNS = 5  # of the wide network, which takes ten times as long
WARM_UPS = 2

Call = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Network:
    """A network to measure, and the blocks to try on it."""

    inputs: int
    width: int
    blocks: tuple[int, ...]
    large: int
    runs: int

    @property
    def name(self) -> str:
        return f"{self.inputs}-{self.width}-{self.width}-1"

    def function(self) -> Function:
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(self.width, activation="sigmoid") for _ in range(2)]
        return function_of(keras.Sequential([keras.Input((self.inputs,), name="x"), *layers, keras.layers.Dense(1)]))


NETWORKS = (
    Network(1, 20, (8_192, 16_384, 65_536, 131_072), MILLION, RUNS),
    Network(10, 128, (2_048, 8_192, 16_384, 65_536), MILLION // 4, LESS_RUNS),
)


def main(*, write: bool) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    targets = []
    for network in NETWORKS:
        times = _measure(network)
        Report(
            name=f"export_{network.width}",
            title=f"Value and derivative of {network.name}, float32, through a Session",
            method=(
                f"ms a call, median (range) of {network.runs} interleaved runs; in brackets the median ratio to value alone, "
                "the naive package's signature, run by run. `gradwire` is what export writes."
            ),
            columns=["variant", *(f"{rows:,} rows" for rows in times), "million rows a second, most"],
            rows=[
                [form, *(_cell(cells, form) for cells in times.values()), _rate(times, form)] for form in times[BLOCK]
            ],
        ).show(write=write)
        targets += _targets(network, times)
    Report(
        name="export_targets",
        title="Targets for value and derivative, and what was measured",
        method="Median (range) of ratios, run by run, from the tables above.",
        columns=["network", "ratio", "target", "measured"],
        rows=targets,
    ).show(write=write)


def _measure(network: Network) -> dict[int, dict[str, Measured]]:
    function = network.function()
    forms = _forms(network, function)
    with tempfile.TemporaryDirectory() as folder:
        servable = _package(function, forms, Path(folder))
        return {rows: _interleaved(servable, network, list(forms), rows) for rows in (BLOCK, network.large)}


def _targets(network: Network, times: dict[int, dict[str, Measured]]) -> list[list[str | Measured]]:
    """The targets of the design, as ratios."""
    block, large = times.values()
    ours, xla = (
        next(form for form in block if form.startswith(start))
        for start in ("gradwire: tape", 'gradwire, compile="xla": tape')
    )
    best = min((form for form in block if "tape in blocks" in form), key=lambda form: block[form].median)
    scale = network.large / BLOCK
    rate = Measured(tuple(scale * one / many for one, many in zip(block[best].values, large[ours].values, strict=True)))
    limits = ("1.9", "1.3") if network.inputs == 1 else ("2.6", "")
    return [
        [
            network.name,
            f"with derivative / value alone, {BLOCK:,} rows",
            f"<= {limits[0]}",
            _ratio(block, ours),
        ],
        [
            network.name,
            "the same, compiled by XLA",
            f"<= {limits[1]}" if limits[1] else "",
            _ratio(block, xla),
        ],
        [network.name, f"rate at {network.large:,} rows / best block's", ">= 0.8", rate],
        [network.name, f"with derivative / naive value, {network.large:,} rows", "< 1", _ratio(large, ours)],
        [network.name, "the same, compiled by XLA", "< 1", _ratio(large, xla)],
    ]


def _forms(network: Network, function: Function) -> dict[str, Call]:
    """Every way that was tried to compute value and derivative, and value alone."""

    def tape(tensors: dict[str, Any]) -> dict[str, Any]:
        values, gradients = row_derivatives(function.call, tensors, {"f": ["x"]}, {"f": (1,)})
        return values | {"df_dx": gradients["f"]["x"]}

    traced, specs = trace(tape, function.inputs), function.inputs
    value = trace(function.call, specs)
    best = block_rows(traced.graph.as_graph_def(add_shapes=True))

    def blocked(concrete: Any, rows: int, **options: Any) -> Call:
        return split(lambda tensors: concrete(**tensors), concrete.structured_outputs, rows, **options)

    def map_fn(tensors: dict[str, Any]) -> dict[str, Any]:
        return _by_map_fn(traced, tensors["x"], best)

    tape_xla, value_xla = trace(tape, specs, jit_compile=True), trace(function.call, specs, jit_compile=True)
    jit = {
        "XLA, tape": lambda tensors: tape_xla(**tensors),
        "XLA, value alone": lambda tensors: value_xla(**tensors),
    }
    others = [rows for rows in network.blocks if rows != best]
    return {
        "value alone": function.call,
        "plain tape": tape,
        f"gradwire: tape in blocks of {best:,}": blocked(traced, best),
        **{f"tape in blocks of {rows:,}": blocked(traced, rows) for rows in others},
        f"tape in blocks of {best:,}, no shortcut": blocked(traced, best, shortcut=False),
        f"tape in tf.map_fn, blocks of {best:,}, and a tail": map_fn,
        f"gradwire: value in blocks of {best:,}": blocked(value, best),
        **jit,
        f'gradwire, compile="xla": tape in blocks of {best:,}': compiled("serving_default", tape, specs),
        'gradwire, compile="xla": value alone': compiled("value", function.call, specs),
    } | ({"forward mode by hand": _forward(function)} if network.inputs == 1 else {})


def _by_map_fn(traced: Any, x: Any, rows: int) -> dict[str, Any]:
    full = tf.shape(x)[0] // rows
    stacked = tf.reshape(x[: full * rows], [full, rows, x.shape[1]])
    signature = {
        name: tf.TensorSpec((rows, *spec.shape[1:]), spec.dtype) for name, spec in traced.structured_outputs.items()
    }
    done = tf.map_fn(lambda block: traced(x=block), stacked, fn_output_signature=signature)
    tail = traced(x=x[full * rows :])
    return {name: tf.concat([tf.reshape(array, [-1, *array.shape[2:]]), tail[name]], 0) for name, array in done.items()}


def _forward(function: Function) -> Call:
    """Value and tangent side by side through each layer, one product for both: possible for a scalar input only."""
    kernels = sorted((v for v in function.variables if "kernel" in v.name), key=lambda v: v.name)
    biases = sorted((v for v in function.variables if "bias" in v.name), key=lambda v: v.name)

    def call(tensors: dict[str, Any]) -> dict[str, Any]:
        value, tangent = tensors["x"], tf.ones_like(tensors["x"])
        for index, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            both = tf.concat([value, tangent], 0) @ kernel
            value, tangent = tf.split(both, 2)
            value += bias
            if index < len(kernels) - 1:
                value = tf.sigmoid(value)
                tangent *= value * (1 - value)
        return {"f": value, "df_dx": tangent}

    return call


def _package(function: Function, forms: dict[str, Call], folder: Path) -> Servable:
    module = tf.Module()
    module.held = list(function.variables)
    signatures = {f"form_{index}": trace(call, function.inputs) for index, call in enumerate(forms.values())}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return Servable.load(folder)


def _interleaved(servable: Servable, network: Network, forms: list[str], rows: int) -> dict[str, Measured]:
    x = np.random.default_rng(0).uniform(0.1, 1.9, (rows, network.inputs)).astype(np.float32)
    times: dict[str, list[float]] = {form: [] for form in forms}
    expected = servable.run("form_1", {"x": x})
    for run in range(network.runs + WARM_UPS):
        for index, form in enumerate(forms):
            began = time.perf_counter()
            answers = servable.run(f"form_{index}", {"x": x})
            if run >= WARM_UPS:
                times[form].append(1e3 * (time.perf_counter() - began))
            elif any(not np.allclose(expected[name], array, atol=1e-5) for name, array in answers.items()):
                raise AssertionError(f"{form} gives other numbers")
    return {form: Measured(tuple(column), "ms") for form, column in times.items()}


def _ratio(times: dict[str, Measured], form: str) -> Measured:
    """To value alone, run by run."""
    pairs = zip(times[form].values, times["value alone"].values, strict=True)
    return Measured(tuple(one / other for one, other in pairs))


def _cell(times: dict[str, Measured], form: str) -> str:
    return f"{times[form]} [{_ratio(times, form).median:.2f}]"


def _rate(times: dict[int, dict[str, Measured]], form: str) -> str:
    return f"{max(rows / cells[form].median / 1e3 for rows, cells in times.items()):.1f}"
