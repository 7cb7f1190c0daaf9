"""Signatures that solve: what they return is a solution, has the derivatives of one, and is flagged where it is none.

The targets are the model's own values t = f(x) at the points. With x* what a signature returns there, s the rounding of
f and of its derivatives as measured at x* (``_numerics/noise.py``), and g = df/dx:

- f(x*) and t, of `serving_default`, differ by no more than the card's tolerance and 8 s, and so does the residual that
  is returned; x* lies in the domain on the card.
- dx/dt = 1/g and dx/dy = -(df/dy)/g with the derivatives of `serving_default` at x*, to 8 s of each in the quotient:
  the implicit function theorem.
- The same against second solves, of targets t ± h and inputs y ± hv: a central difference at two steps, extrapolated
  (Richardson), to eight times its own change, or the difference of the two sides where that is larger (a kink), and the
  rounding of x*, (s + eps |t|)/|g| + eps |x*|, over h.
- NaN for a target, or in an input, is flagged; so are targets a thousand times the spread of the values beyond them,
  unless f does take them at the x that is returned. A row that is flagged has NaN for x and its derivatives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._model import package_of, solving_signature
from gradwire._numerics import ALLOWED_EPS, SAFETY, TINY, Measured, flat_rows, reach
from gradwire._package import CONVERGED, RESIDUAL, SERVING_DEFAULT, Box, Solve
from gradwire._verify.evaluations import SignatureEvaluations
from gradwire._verify.probe import Probe
from gradwire._verify.result import Finding

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

_STEP: Final = 2.0**-7  # of the domain's width: how far x moves in a second solve
_FAR: Final = 1e3  # times the spread of the values


def solutions(evaluations: SignatureEvaluations) -> Iterator[Finding]:
    """Check every signature that solves; yield nothing where there is none."""
    for name, solve in evaluations.probe.card.solves.items():
        if evaluations.probe.has(name):
            solving_signature(package_of(evaluations.probe.model), name)
            yield from _Trial.run(evaluations, name, solve).findings()


@final
@dataclass(frozen=True, slots=True)
class _Trial:
    """A signature that was run on the model's own values."""

    probe: Probe
    name: str
    solve: Solve
    inputs: Arrays  # of the signature, at all points
    outputs: Arrays
    rows: Arrays  # of the model at the solutions: those points alone that were solved
    at: Measured  # `serving_default` there

    @classmethod
    def run(cls, evaluations: SignatureEvaluations, name: str, solve: Solve) -> _Trial:
        probe = evaluations.probe
        target = probe.run(SERVING_DEFAULT, probe.x)[solve.output]
        inputs = {solve.output: target, **{key: rows for key, rows in probe.x.items() if key != solve.input}}
        outputs = probe.run(name, inputs)
        solved = outputs[CONVERGED]
        own = {**probe.x, solve.input: outputs[solve.input]}
        rows = {key: own[key][solved] for key in probe.x}
        at = probe.measure(SERVING_DEFAULT, x=rows) if solved.any() else Measured({}, {})
        return cls(probe, name, solve, inputs, outputs, rows, at)

    def findings(self) -> Iterator[Finding]:
        """Yield a line for each thing that is checked."""
        yield self._flags()
        solved = self.outputs[CONVERGED]
        if not solved.any():
            yield Finding(f"{self.name}: none of {len(solved)} targets is solved, all are flagged")
            return
        yield self._round_trip(int(solved.sum()))
        for key, tensor in self.solve.derivatives.items():
            yield self._by_gradient(key, tensor)
            yield self._by_second_solve(key, tensor)

    def _finding(self, text: str, worst: float, tensor: str, note: str = "") -> Finding:
        return Finding(text, worst, tensor if worst > 1 else "", note, signatures=(self.name,))

    def _solved(self, tensor: str) -> Floats:
        """Return an output of the signature in the rows that were solved, ``(rows, elements)``."""
        return flat_rows(self.outputs[tensor][self.outputs[CONVERGED]])

    def _gradient(self, wrt: str) -> tuple[Floats, Floats]:
        """Return df/dwrt at the solutions and its rounding, ``(rows, elements)`` each; zeros where it has none."""
        tensor = self.probe.card.derivatives.get(self.solve.output, {}).get(wrt)
        if tensor is None:
            zeros = np.zeros_like(flat_rows(self.rows[wrt]))
            return zeros, zeros
        return self.at.values[tensor], self.at.noise[tensor]

    def _round_trip(self, count: int) -> Finding:
        target = self._target()
        f, noise = (part[self.solve.output] for part in (self.at.values, self.at.noise))
        allowed = abs(self.solve.tolerance) + SAFETY * (noise + self.probe.eps * np.abs(target))
        away = np.maximum(np.abs(f - target), np.abs(self._solved(RESIDUAL) - (f - target)))
        tensor = next(each for each in self.probe.card.inputs if each.name == self.solve.input)
        x, dtype = self._solved(self.solve.input), self.rows[self.solve.input].dtype
        lower, upper = (bound.astype(dtype).reshape(-1) for bound in Box.of_card(tensor, (-math.inf, math.inf)))
        outside = int(((x < lower) | (x > upper)).sum())
        worst = math.inf if outside else float(np.nan_to_num(away / allowed, nan=math.inf).max())
        note = f"{count} of {len(self.outputs[CONVERGED])} targets solved, residuals up to {away.max():.2g}"
        note += f"; {outside} outside of the domain" if outside else ""
        return self._finding(f"{self.solve.output} at {self.solve.input} of {self.name}", worst, self.solve.input, note)

    def _by_gradient(self, key: str, tensor: str) -> Finding:
        slope, slope_noise = self._gradient(self.solve.input)
        above, above_noise = (np.ones_like(slope), 0.0) if key == self.solve.output else self._gradient(key)
        sign = 1.0 if key == self.solve.output else -1.0
        with np.errstate(all="ignore"):
            expected = sign * above / slope
            rounding = above_noise / np.abs(slope) + np.abs(expected) * (slope_noise / np.abs(slope) + self.probe.eps)
            ratio = np.abs(self._solved(tensor) - expected) / (SAFETY * rounding)
        counts = np.isfinite(expected) & np.isfinite(rounding) & (slope_noise < np.abs(slope))
        worst = float(np.nan_to_num(ratio[counts], nan=math.inf).max(initial=0.0))
        return self._finding(f"{tensor} of {self.name} by the implicit function theorem", worst, tensor)

    def _by_second_solve(self, key: str, tensor: str) -> Finding:
        x, slope = self._solved(self.solve.input)[:, 0], np.abs(self._gradient(self.solve.input)[0])[:, 0]
        noise, target = self.at.noise[self.solve.output][:, 0], np.abs(self._target()[:, 0])
        with np.errstate(all="ignore"):
            along, h = self._direction(key, self._solved(tensor), slope)
            actual = (self._solved(tensor) * along).sum(axis=1)
            wide, close = (self._slopes(key, along, step) for step in (h, h / 2))
            forward, backward = 2 * close - wide  # one-sided, extrapolated: they tell of a kink at the point itself
            wide, close = wide.mean(axis=0), close.mean(axis=0)
            expected, change = close + (close - wide) / 3, np.maximum(np.abs(close - wide), np.abs(forward - backward))
            rounding = ((noise + self.probe.eps * target) / slope + self.probe.eps * np.abs(x)) / h
            ratio = np.abs(actual - expected) / (SAFETY * (change + rounding))
        counts = np.isfinite(expected) & np.isfinite(rounding)
        if not counts.any():
            return Finding(f"{tensor} of {self.name}: no second solve to compare it with")
        worst = float(np.nan_to_num(ratio[counts], nan=math.inf).max())
        return self._finding(f"{tensor} against second solves", worst, tensor, f"{int(counts.sum())} points")

    def _target(self) -> Floats:
        return flat_rows(self.inputs[self.solve.output][self.outputs[CONVERGED]])

    def _direction(self, key: str, derivative: Floats, slope: Floats) -> tuple[Floats, Floats]:
        """Return along what an input of the signature moves, ``(rows, elements)``, and how far, ``(rows,)``.

        So far that x moves by about ``_STEP`` of its domain, a power of two, which keeps inputs on their grid.
        """
        lower, upper = self.probe.boxes[self.solve.input]
        length = _STEP * float((upper - lower).max())
        if key == self.solve.output:
            return np.ones_like(derivative), _power_of_two(slope * length)
        v = self.probe.v[key][self.outputs[CONVERGED]]
        along = flat_rows(v)
        speed = np.abs((derivative * along).sum(axis=1))
        room = reach(self.rows[key], v, self.probe.boxes[key], _STEP)
        return along, _power_of_two(np.minimum(room, length / np.maximum(speed, TINY)))

    def _slopes(self, key: str, along: Floats, h: Floats) -> Floats:
        """Return the forward and the backward difference of x along a direction, ``(2, rows)``; NaN where flagged."""
        base = {name: array[self.outputs[CONVERGED]] for name, array in self.inputs.items()}
        x, step = self._solved(self.solve.input)[:, 0], (along * h[:, None]).reshape(base[key].shape)
        slopes: list[Floats] = []
        for sign in (1.0, -1.0):
            end = (base[key] + sign * step).astype(base[key].dtype)
            outputs = self.probe.run(self.name, base | {key: end})
            slopes.append(sign * (flat_rows(outputs[self.solve.input])[:, 0] - x) / h)
        return np.array(slopes)

    def _flags(self) -> Finding:
        """Rows without a solution are flagged, and every row that is flagged has NaN."""
        solve, rows = self.solve, self._planted()
        outputs = self.probe.run(self.name, rows)
        has_nan = np.any([np.isnan(flat_rows(each)).any(axis=1) for each in rows.values() if _is_float(each)], axis=0)
        wrong = outputs[CONVERGED] & (has_nan | ~self._are_solutions(rows, outputs))
        numbers = sum(
            int((~np.isnan(flat_rows(each[tensor])).all(axis=1) & ~each[CONVERGED]).sum())
            for each in (outputs, self.outputs)
            for tensor in (solve.input, *solve.derivatives.values())
        )
        text = f"{self.name}: rows without a solution are flagged, and NaN"
        problems = [f"{int(wrong.sum())} of {len(wrong)} are not flagged"] if wrong.any() else []
        problems += [f"{numbers} numbers beside a flag"] if numbers else []
        return self._finding(
            text, math.inf if problems else 0.0, CONVERGED, "; ".join(problems) or f"{len(wrong)} rows"
        )

    def _planted(self) -> Arrays:
        """Return rows of the signature without a solution: targets far beyond all values, and NaN in each input."""
        target = self.inputs[self.solve.output]
        finite = target[np.isfinite(target)]
        spread = float(np.ptp(finite) + np.abs(finite).max()) if finite.size else 1.0
        floats = [key for key, array in self.inputs.items() if _is_float(array)]
        first = {key: array[:1] for key, array in self.inputs.items()}
        cases = [first | {self.solve.output: np.full_like(target[:1], sign * _FAR * spread)} for sign in (1.0, -1.0)]
        cases += [first | {key: np.full_like(first[key], np.nan)} for key in floats]
        return {key: np.concatenate([case[key] for case in cases]) for key in self.inputs}

    def _are_solutions(self, rows: Arrays, outputs: Arrays) -> NDArray[np.bool_]:
        """Return whether f takes the targets at the x that are returned, ``(rows,)``."""
        own = {**rows, self.solve.input: outputs[self.solve.input]}
        f = self.probe.run(SERVING_DEFAULT, {key: own[key] for key in self.probe.x})[self.solve.output]
        target = rows[self.solve.output]
        with np.errstate(all="ignore"):
            allowed = abs(self.solve.tolerance) + ALLOWED_EPS * self.probe.eps * np.abs(target)
            return flat_rows(np.abs(f - target) <= allowed)[:, 0] != 0


def _is_float(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f"


def _power_of_two(lengths: Floats) -> Floats:
    return 2.0 ** np.floor(np.log2(lengths))
