"""What first and second derivatives of several elements cost, by the cheaper side and by sweeps alone."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks._report import Measured, Report
from gradwire_export._package.blocks import in_blocks, trace
from gradwire_export._package.signatures import signature_body
from gradwire_export._package.spec import PackageSpec, package_spec
from gradwire_export._sources.function import Function, function_of
from gradwire_serving import Servable

ROWS = 1024
WIDTH = 64
RUNS = 9
WARM_UPS = 2
LEAST = 0.02  # s of the processor for one measurement
CHAIN = 100  # elements of the sparse case
FIRST, SECOND = "serving_default", "hessian"


@dataclass(frozen=True)
class Case:
    """A function to measure."""

    name: str
    make: Callable[[], Function]
    limit: str = ""  # of value and first derivatives, in values
    signatures: tuple[str, ...] = (FIRST,)


def _network(n_inputs: int, n_outputs: int) -> Function:
    layers = [keras.layers.Dense(WIDTH, "tanh"), keras.layers.Dense(WIDTH, "tanh"), keras.layers.Dense(n_outputs)]
    return function_of(keras.Sequential([keras.Input((n_inputs,), name="x"), *layers]))


def _mixed() -> Function:
    """A scalar of many inputs beside many outputs of few: neither side alone is cheap."""
    many, few = keras.Input((40,), name="many"), keras.Input((3,), name="few")
    hidden = keras.layers.Dense(WIDTH, "tanh")(keras.layers.Concatenate()([many, few]))
    curve = keras.layers.Dense(40)(keras.layers.Dense(WIDTH, "tanh")(few))
    return function_of(keras.Model([many, few], {"price": keras.layers.Dense(1)(hidden), "curve": curve}))


def _chain() -> Function:
    """A residual of a chain: each element depends on itself and its two neighbours."""

    def residual(x: Any) -> Any:
        padded = tf.pad(x, [[0, 0], [1, 1]])
        return padded[:, 2:] - 2 * tf.sinh(x) + padded[:, :-2] * tf.cos(x)

    return function_of(residual, inputs={"x": tf.TensorSpec((None, CHAIN), tf.float32)})


CASES = (
    Case(f"1000-{WIDTH}-{WIDTH}-1", lambda: _network(1000, 1), "2"),
    Case(f"10-{WIDTH}-{WIDTH}-10", lambda: _network(10, 10), "12"),
    Case(f"10-{WIDTH}-{WIDTH}-50", lambda: _network(10, 50), "12"),
    Case(f"3-{WIDTH}-{WIDTH}-200", lambda: _network(3, 200), "5", (FIRST, SECOND)),
    Case("price of 43 beside 40 of 3", _mixed),
    Case(f"chain of {CHAIN}", _chain),
)


def main(*, write: bool) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rows = [row for case in CASES for row in _rows(case)]
    Report(
        name="jacobians",
        title=f"Value and all derivatives ÷ value alone, {ROWS:,} rows, float32, through a Session",
        method=(
            f"Processor time of all cores, which other programs do not disturb: median (range) of {RUNS} interleaved runs, the "
            "ratio run by run. `gradwire` is what export writes: products "
            "forward where there are fewer inputs, sweeps back where there are fewer outputs, and what is structurally "
            "independent together. `sweeps alone` takes one reverse sweep for each output element: on copies of the rows "
            "above 32. Both gave the same numbers."
        ),
        columns=["function", "signature", "value, ms", "reverse + forward", "limit", "gradwire", "sweeps alone"],
        rows=rows,
    ).show(write=write)


def _rows(case: Case) -> list[list[str | Measured]]:
    keras.utils.set_random_seed(0)
    function = case.make()
    spec = package_spec(function, _zeros(case, function), case.signatures)
    rows: list[list[str | Measured]] = []
    for signature in case.signatures:
        forms = {"gradwire": spec, "sweeps alone": replace(spec, plans=None)}
        times = _measure(function, {form: (each, signature) for form, each in forms.items()})
        plan = spec.plan(signature)
        ratios = [_ratio(times[form], times["value"]) for form in forms]
        limit = case.limit if signature == FIRST else ""
        counts = f"{len(plan.backward)} + {len(plan.forward)}"
        rows.append([case.name, signature, times["value"], counts, limit, *ratios])
    return rows


def _zeros(case: Case, function: Function) -> Sequence[tuple[str, str]]:
    del case
    return [("curve", "many")] if "curve" in function.outputs else []


def _measure(function: Function, forms: Mapping[str, tuple[PackageSpec, str]]) -> dict[str, Measured]:
    generator = np.random.default_rng(0)
    x = {
        name: generator.uniform(-1, 1, (ROWS, *spec.shape[1:])).astype(np.float32)
        for name, spec in function.inputs.items()
    }
    module = tf.Module()
    module.held = list(function.variables)
    signatures = {"value": trace(function.call, function.inputs)}
    for form, (spec, signature) in forms.items():
        body = in_blocks(signature_body(spec, signature), function.inputs, n_repeats=spec.n_repeats(signature))
        signatures[form.replace(" ", "_")] = trace(body, function.inputs)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        servable = Servable.load(Path(folder))
        return _interleaved(servable, list(signatures), x)


def _interleaved(servable: Servable, forms: Sequence[str], x: dict[str, Any]) -> dict[str, Measured]:
    expected: dict[str, Any] = {}
    for form in forms:
        for name, array in servable.run(form, x).items():
            if not np.allclose(expected.setdefault(name, array), array, rtol=1e-4, atol=1e-4):
                raise AssertionError(f"{form} gives other numbers for {name}")
    times: dict[str, list[float]] = {form: [] for form in forms}
    for run in range(RUNS + WARM_UPS):
        for form in forms:
            took = _processor_time(lambda form=form: servable.run(form, x))
            if run >= WARM_UPS:
                times[form].append(1e3 * took)
    return {form.replace("_", " "): Measured(tuple(column), "ms") for form, column in times.items()}


def _processor_time(call: Callable[[], object]) -> float:
    """Return the processor's time for one call, s, from as many calls as its clock needs."""
    count, began = 0, time.process_time()
    while count == 0 or time.process_time() - began < LEAST:
        call()
        count += 1
    return (time.process_time() - began) / count


def _ratio(times: Measured, value: Measured) -> Measured:
    return Measured(tuple(one / other for one, other in zip(times.values, value.values, strict=True)))
