"""The samples that a model was fitted to, or others, as points beside its curves."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._cli.explore.subject import OutputElement, Subject
from gradwire._errors import DataError
from gradwire._model import package_of
from gradwire._package import SERVING_DEFAULT
from gradwire.batch import open_source

MOST_SAMPLES: Final = 20_000  # rows that are held: each view measures the distance to every one
MOST_SHOWN: Final = 400  # points of a plot, the nearest ones
REACH: Final = 0.15  # of the domain's width: a sample that far away, in the other inputs, is faint


@final
class Samples:
    """Rows of inputs and outputs whose columns have the package's names.

    Args:
        labels: of the elements of all inputs, in the card's order.
        inputs: ``(rows, elements)``.
        outputs: by output, ``(rows, elements)``; NaN where a label is missing.
        what: the file's name, for people.
    """

    def __init__(
        self, labels: list[str], inputs: NDArray[np.float64], outputs: dict[str, NDArray[np.float64]], what: str
    ) -> None:
        self._labels = labels
        self._inputs = inputs
        self._outputs = outputs
        self.what = what

    @classmethod
    def read(cls, path: Path, subject: Subject) -> Samples:
        """Read a file: a column for each input, or for each of its elements, and for one output or more.

        Raises:
            DataError: it cannot be read, has no column for an input or none for an output, or too many rows.
        """
        source, card = open_source(path), subject.card
        names = [tensor.name for tensor in card.inputs]
        labelled = [tensor for tensor in card.outputs if tensor.name in source.columns]
        if missing := [name for name in names if name not in source.columns]:
            raise DataError(
                f"{source.what} has no column {missing[0]!r}, it has {', '.join(source.columns)}: rename one"
            )
        if not labelled:
            outputs = ", ".join(tensor.name for tensor in card.outputs)
            raise DataError(f"{source.what} has no column of an output, {outputs}: it has {', '.join(source.columns)}")
        if source.rows > MOST_SAMPLES:
            raise DataError(
                f"{source.what} has {source.rows:,} rows, expected at most {MOST_SAMPLES:,}: give some of them"
            )
        specs, done = package_of(subject.model).signature(SERVING_DEFAULT).inputs, 0
        inputs, labels = list[Any](), {tensor.name: list[Any]() for tensor in labelled}
        for block in source.blocks():
            parts = [np.asarray(source.read(block, specs[name], done), np.float64) for name in names]
            inputs.append(np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1))
            for tensor in labelled:
                rows = source.read_labels(block, tensor.name, tensor.shape or (1,), done)
                labels[tensor.name].append(rows.reshape(len(rows), math.prod(tensor.shape)))
            done += len(inputs[-1])
        outputs = {name: np.concatenate(parts) for name, parts in labels.items()}
        return cls([element.label for element in subject.inputs], np.concatenate(inputs), outputs, source.what)

    def __len__(self) -> int:
        return len(self._inputs)

    def near(self, subject: Subject, output: OutputElement, flat: NDArray[np.float64], along: int) -> Any:
        """Return the samples beside a curve: x, the output, and how near they are to the curve, 1 to 0.

        A sample lies off the curve by its distance in the other inputs, in widths of the domain; ``REACH`` of them
        counts ``exp(-1/2)``. None where there are no labels of the output, or a version has other inputs.
        """
        labels = self._outputs.get(output.tensor.name)
        if labels is None or self._labels != [element.label for element in subject.inputs]:
            return None
        widths = np.array([element.upper - element.lower for element in subject.inputs])
        off = (self._inputs - flat) / (REACH * np.where(widths > 0, widths, 1.0))
        off[:, along] = 0.0
        nearness = np.exp(-0.5 * (off * off).sum(axis=1))
        nearest = np.argsort(-nearness, kind="stable")[:MOST_SHOWN]
        parts = (self._inputs[nearest, along], labels[nearest, output.place], nearness[nearest])
        return [base64.b64encode(np.ascontiguousarray(part, "<f8").tobytes()).decode("ascii") for part in parts]
