"""A version of a model as the page shows it: elements of inputs with sliders, elements of outputs, and calls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import UsageError, printable
from gradwire._model import Model, package_of
from gradwire._package import (
    BY_NAME,
    SERVING_DEFAULT,
    UNCERTAINTY,
    Box,
    Card,
    CardTensor,
    boxes_of,
    derivative_shape,
    derivative_unit,
    std_name,
)
from gradwire._tables import column_names

Floats = NDArray[np.float64]

MOST_SLIDERS: Final = 48  # elements of the inputs with a slider: the others stay in the middle of their domain
MOST_OUTPUTS: Final = 200  # elements of the outputs that can be chosen
FINENESS: Final = 200.0  # steps of a slider within the domain, at least
BEYOND: Final = 0.1  # of the domain's width, to either side of it: the page shows where it ends


@final
@dataclass(frozen=True, slots=True)
class InputElement:
    """An element of an input, with its slider.

    Attributes:
        label: ``x`` or ``x[0]``.
        tensor: the input.
        place: of the element in the flat row of the input.
        lower: end of the domain; of a range to look at, where none is known.
        upper: the other end.
        has_domain: whether the card has one for it.
        is_integer: whether it takes whole numbers alone, without a derivative.
    """

    label: str
    tensor: CardTensor
    place: int
    lower: float
    upper: float
    has_domain: bool
    is_integer: bool

    @property
    def width(self) -> float:
        """The width of the domain; of a constant input, one to look at."""
        return self.upper - self.lower or max(abs(self.upper), 1.0)

    @property
    def step(self) -> float:
        """The step of the slider: a power of ten, between a 200th and a 2,000th of the domain."""
        return 1.0 if self.is_integer else 10.0 ** math.floor(math.log10(self.width / FINENESS))

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the slider: a tenth of the domain beyond it, without a change of sign."""
        if self.is_integer:
            return self.lower, max(self.upper, self.lower + 1)
        lower, upper = self.lower - BEYOND * self.width, self.upper + BEYOND * self.width
        if self.lower > 0 >= lower:
            lower = 0.5 * self.lower
        if self.upper < 0 <= upper:
            upper = 0.5 * self.upper
        return self._rounded(lower, math.floor), self._rounded(upper, math.ceil)

    @property
    def middle(self) -> float:
        """The middle of the domain, to the step of the slider."""
        centre = 0.5 * self.lower + 0.5 * self.upper
        rounded = self._rounded(centre, math.floor if self.is_integer else round)
        return rounded if self.lower <= rounded <= self.upper else centre

    def _rounded(self, number: float, direction: Callable[[float], int]) -> float:
        return float(f"{direction(number / self.step) * self.step:.12g}")


@final
@dataclass(frozen=True, slots=True)
class OutputElement:
    """An element of an output: its label, the output, and its place in the flat row."""

    label: str
    tensor: CardTensor
    place: int


@final
@dataclass(frozen=True, slots=True)
class Curves:
    """One element of an output, and its gradient, at some rows.

    Attributes:
        f: ``(rows,)``.
        df: ``(rows, elements of all inputs)``; NaN where the model has no derivative.
        f_std: the error bar of ``f``; None where the model has none.
        df_std: that of ``df``.
    """

    f: Floats
    df: Floats
    f_std: Floats | None = None
    df_std: Floats | None = None


@final
@dataclass(slots=True)
class Stopwatch:
    """What calls took.

    Attributes:
        calls: rows and seconds of each.
    """

    calls: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])


@final
class Subject:
    """A version of a model.

    Args:
        model: of that version alone.
        version: its number.

    Raises:
        SignatureNotFound: it has no card.
        UsageError: an input takes text.
    """

    def __init__(self, model: Model, version: int) -> None:
        self.model = model
        self.version = version
        self.card: Card = model.card
        self._boxes = boxes_of(self.card, None)
        self.inputs = tuple(element for tensor in self.card.inputs for element in self._inputs(tensor))
        self.outputs = tuple(
            OutputElement(printable(label), tensor, place)
            for tensor in self.card.outputs
            for place, label in enumerate(column_names(tensor.name, tensor.shape))
        )[:MOST_OUTPUTS]

    @property
    def has_bars(self) -> bool:
        """Whether it has error bars."""
        return UNCERTAINTY in self.model.signatures

    @cached_property
    def middle(self) -> Floats:
        """The middle of the domain, ``(elements of all inputs,)``."""
        return np.array([element.middle for element in self.inputs])

    def rows(self, flat: Floats) -> dict[str, NDArray[Any]]:
        """Return rows of all inputs, ``(rows, elements)``, as the inputs of a call.

        Raises:
            UsageError: an input of integers got a fraction.
        """
        inputs: dict[str, NDArray[Any]] = {}
        start = 0
        for tensor in self.card.inputs:
            row = tensor.least_row_shape
            part = flat[:, start : start + math.prod(row)]
            start += math.prod(row)
            dtype = BY_NAME[tensor.dtype].numpy
            if dtype.kind in "iub" and (part != np.floor(part)).any():
                raise UsageError(f"input {tensor.name!r} is {tensor.dtype} and got {part.flat[0]}: give integers")
            with np.errstate(over="ignore", invalid="ignore"):
                inputs[tensor.name] = part.reshape(len(flat), *row).astype(dtype)
        return inputs

    def curves(self, flat: Floats, output: OutputElement, watch: Stopwatch) -> Curves:
        """Compute an element of an output, its gradient and their error bars, at rows of all inputs."""
        rows, name = self.rows(flat), output.tensor.name
        by_input = self.card.derivatives.get(name, {})
        tensors = [name, *by_input.values()]
        response = self._run(SERVING_DEFAULT, rows, tensors, watch)
        f, df = self._element(response[name], output), self._gradient(response, output, by_input)
        if not self.has_bars:
            return Curves(f, df)
        known = self.model.signatures[UNCERTAINTY].outputs
        bars = {tensor: std_name(tensor) for tensor in tensors if std_name(tensor) in known}
        if not bars:
            return Curves(f, df)
        stds = self._run(UNCERTAINTY, rows, list(bars.values()), watch)
        of = {tensor: stds[std] for tensor, std in bars.items()}
        f_std = self._element(of[name], output) if name in of else None
        return Curves(f, df, f_std, self._gradient(of, output, by_input))

    def values(self, flat: Floats, watch: Stopwatch) -> tuple[list[Any], list[Any] | None, bool | None]:
        """Compute every element of every output at one point: the values, their error bars, whether it is trusted."""
        rows = self.rows(flat[None])
        response = self._run(SERVING_DEFAULT, rows, None, watch)
        values = [response[element.tensor.name].reshape(-1)[element.place] for element in self.outputs]
        if not self.has_bars:
            return values, None, None
        names = [std_name(tensor.name) for tensor in self.card.outputs]
        stds = self._run(UNCERTAINTY, rows, names, watch)
        bars = [stds[std_name(element.tensor.name)].reshape(-1)[element.place] for element in self.outputs]
        return values, bars, bool(package_of(self.model).trust.excess(stds)[0] <= 1)

    def outside(self, flat: Floats) -> list[str]:
        """Return the labels of what lies outside of the domain: elements, or an input whose distances the card has."""
        rows, domains = self.rows(flat[None]), package_of(self.model).domains
        elements = [
            element.label
            for element, number in zip(self.inputs, flat, strict=True)
            if element.has_domain and not element.lower <= number <= element.upper
        ]
        far = [
            printable(tensor.name)
            for tensor in self.card.inputs
            if tensor.distances is not None and domains[tensor.name].outside(rows[tensor.name])[0]
        ]
        return elements + far

    def unit(self, output: OutputElement, element: InputElement) -> str:
        """Return the unit of a derivative; empty where it is unknown, or of a pure number."""
        return shown_unit(derivative_unit(output.tensor.unit, element.tensor.unit))

    def derivative(self, output: OutputElement, element: InputElement) -> str:
        """Return the name of a derivative's element, ``df_dx`` or ``dw_dx[1,0]``; empty where the model has none."""
        name = self.card.derivatives.get(output.tensor.name, {}).get(element.tensor.name)
        if name is None:
            return ""
        row = element.tensor.least_row_shape
        shape = derivative_shape(output.tensor.shape, row)
        if shape in ((), (1,)):
            return printable(name)
        index = np.unravel_index(output.place * math.prod(row) + element.place, shape)
        return printable(f"{name}[{','.join(map(str, index))}]")

    def _inputs(self, tensor: CardTensor) -> list[InputElement]:
        is_integer = BY_NAME[tensor.dtype].numpy.kind in "iub"
        unknown = (np.nan, np.nan)
        is_box = tensor.domain is not None and tensor.distances is None  # distances are a domain of their own
        known = Box.of_card(tensor, unknown) if is_box else None
        lower, upper = (bound.reshape(-1) for bound in self._boxes[tensor.name])
        has = np.isfinite(known.lower + known.upper).reshape(-1) if known is not None else np.zeros(lower.size, bool)
        return [
            InputElement(printable(label), tensor, i, float(lower[i]), float(upper[i]), bool(has[i]), is_integer)
            for i, label in enumerate(column_names(tensor.name, tensor.least_row_shape))
        ]

    def _run(self, signature: str, rows: Any, outputs: Sequence[str] | None, watch: Stopwatch) -> dict[str, Any]:
        began = time.perf_counter()
        response = self.model.run(signature, rows, outputs)
        watch.calls.append((len(next(iter(rows.values()))), time.perf_counter() - began))
        return response

    def _element(self, array: NDArray[Any], output: OutputElement) -> Floats:
        return np.asarray(array, np.float64).reshape(len(array), -1)[:, output.place]

    def _gradient(self, arrays: dict[str, Any], output: OutputElement, by_input: Any) -> Floats:
        """Return the derivatives with respect to the elements of all inputs, side by side."""
        rows, parts = len(next(iter(arrays.values()))), list[Floats]()
        for tensor in self.card.inputs:
            size, name = math.prod(tensor.least_row_shape), by_input.get(tensor.name)
            if name not in arrays:
                parts.append(np.full((rows, size), np.nan))
                continue
            parts.append(np.asarray(arrays[name], np.float64).reshape(rows, -1, size)[:, output.place])
        return np.concatenate(parts, axis=1)


def shown_unit(unit: str | None) -> str:
    """Return a unit for people: empty where it is unknown, or of a pure number."""
    return "" if unit in (None, "1") else printable(str(unit))
