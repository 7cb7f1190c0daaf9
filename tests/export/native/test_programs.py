"""Programs of several operations: both sides of differentiation, any number of rows, and C99."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradwire_export._native.c99 import STRICT
from gradwire_export._native.c_source import Routine, arrays_text, body_text, header_text
from gradwire_export._native.derivatives import cotangents, tangents
from gradwire_export._native.library import compile_library
from gradwire_export._native.program import Program

RANDOM = np.random.default_rng(0)
WEIGHTS = [RANDOM.normal(size=shape) for shape in ((3, 13), (13, 7), (7, 2))]
BIASES = [RANDOM.normal(size=width) for width in (13, 7, 2)]


def everything(program: Program, x: int) -> int:
    """A function of three numbers that returns two, with every kind of operation; an element is used twice."""
    hidden = program.unary("tanh", program.linear(x, WEIGHTS[0], BIASES[0]))
    hidden = program.unary("softplus", program.linear(hidden, WEIGHTS[1], BIASES[1]))
    swapped = program.gather([hidden, x], [(0, 6), (1, 2), (0, 6), (0, 0), (1, 2), (0, 3), (1, 0)])
    product = program.mul(hidden, program.sub(swapped, program.constant(np.arange(7.0))))
    quotient = program.div(product, program.add(program.mul(swapped, swapped), program.constant(np.ones(7))))
    return program.linear(quotient, WEIGHTS[2], BIASES[2])


def expected(x: np.ndarray) -> np.ndarray:
    """The same in NumPy."""
    hidden = np.logaddexp(0, np.tanh(x @ WEIGHTS[0] + BIASES[0]) @ WEIGHTS[1] + BIASES[1])
    swapped = np.stack([hidden[:, 6], x[:, 2], hidden[:, 6], hidden[:, 0], x[:, 2], hidden[:, 3], x[:, 0]], axis=1)
    return (hidden * (swapped - np.arange(7.0)) / (swapped**2 + 1)) @ WEIGHTS[2] + BIASES[2]


def routines(program: Program, names: tuple[str, str] = ("x", "f")) -> list[Routine]:
    """The value; the Jacobian from both sides; and the second derivatives along an input direction."""
    x, x_dot = program.input(names[0], 3), program.input("x_dot", 3)
    f = everything(program, x)
    columns = [tangents(program, [f], {x: program.constant(unit)})[0] for unit in np.eye(3)]
    forward = program.gather(columns, [(column, row) for row in range(2) for column in range(3)])
    rows = [cotangents(program, {f: program.constant(unit)}, [x])[0] for unit in np.eye(2)]
    reverse = program.gather(rows, [(row, column) for row in range(2) for column in range(3)])
    second = tangents(program, [forward, reverse], {x: x_dot})
    outputs = {names[1]: f, "forward": forward, "reverse": reverse, "d_forward": second[0], "d_reverse": second[1]}
    return [Routine("all_of_it", {names[0]: x, "x_dot": x_dot}, outputs)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivatives_from_both_sides_agree_with_differences(compiled: Callable, dtype: type):
    """Forward, reverse, and the second derivatives by each."""
    program = Program(np.dtype(dtype))
    kernels = compiled(program, routines(program))
    x, v = RANDOM.normal(size=(50, 3)).astype(dtype), RANDOM.normal(size=(50, 3)).astype(dtype)
    outputs = kernels.run("all_of_it", x=x, x_dot=v)
    x, v, h = x.astype(np.float64), v.astype(np.float64), 1e-4

    def jacobian(x: np.ndarray) -> np.ndarray:
        return np.stack([(expected(x + h * e) - expected(x - h * e)) / (2 * h) for e in np.eye(3)], axis=2)

    close = {"rtol": 0, "atol": 1e-4 if dtype == np.float32 else 1e-6}
    np.testing.assert_allclose(outputs["f"], expected(x), **(close if dtype == np.float32 else {"rtol": 1e-12}))
    for name in ("forward", "reverse"):
        np.testing.assert_allclose(outputs[name].reshape(-1, 2, 3), jacobian(x), **close)
        along = (jacobian(x + h * v) - jacobian(x - h * v)) / (2 * h)
        np.testing.assert_allclose(outputs[f"d_{name}"].reshape(-1, 2, 3), along, rtol=0, atol=1e-3)
    np.testing.assert_allclose(outputs["forward"], outputs["reverse"], rtol=0, atol=200 * np.finfo(dtype).eps)
    np.testing.assert_allclose(outputs["d_forward"], outputs["d_reverse"], rtol=0, atol=2000 * np.finfo(dtype).eps)


def test_a_row_is_the_same_in_any_number_of_rows(compiled: Callable):
    """Also where lanes are left over."""
    program = Program(np.dtype(np.float32))
    kernels = compiled(program, routines(program))
    x, v = RANDOM.normal(size=(2, 70, 3)).astype(np.float32)
    whole = kernels.run("all_of_it", x=x, x_dot=v)
    for rows in (0, 1, 2, 7, 8, 9, 15, 16, 17, 33):
        part = kernels.run("all_of_it", x=x[:rows], x_dot=v[:rows])
        for name, array in part.items():
            np.testing.assert_array_equal(array, whole[name][:rows])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_c99_compiles_without_a_warning_and_runs_clean(compiled: Callable, tmp_path: Path, dtype: type):
    """One row a call, sanitised; names that mean something in C are names of arguments there."""
    program = Program(np.dtype(dtype))
    every = routines(program, ("int", "buffer"))
    body = body_text(program, every[0], static=False)
    text = "\n".join([header_text(program.dtype, lanes=False), arrays_text(program, [body]), body])
    x = RANDOM.normal(size=(2, 3))
    kind = "float" if dtype == np.float32 else "double"
    main = f"""
#include <stdio.h>
int main(void) {{
  const {kind} x[3] = {{{", ".join(map(repr, map(float, x[0])))}}}, v[3] = {{{", ".join(map(repr, map(float, x[1])))}}};
  {kind} f[2], a[6], b[6], c[6], d[6];
  all_of_it(x, v, f, a, b, c, d);
  for (int i = 0; i < 2; ++i) printf("%.17g\\n", (double)f[i]);
  for (int i = 0; i < 6; ++i) printf("%.17g\\n", (double)a[i]);
  return 0;
}}
"""
    (tmp_path / "alone.c").write_text(text)
    compile_library(tmp_path / "alone.c", tmp_path / "alone.so", STRICT)
    (tmp_path / "main.c").write_text(text + main)
    flags = (
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    )
    compile_library(tmp_path / "main.c", tmp_path / "main", flags)
    result = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True, timeout=60)
    numbers = np.array(result.stdout.split(), float)
    lanes = compiled(program, every).run("all_of_it", int=x[:1], x_dot=x[1:])
    both = np.concatenate([lanes["buffer"][0], lanes["forward"][0]])
    np.testing.assert_allclose(numbers, both, rtol=0, atol=64 * np.finfo(dtype).eps * np.abs(both).max())
