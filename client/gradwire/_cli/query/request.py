"""A query: a signature, the inputs that it takes, and the outputs that are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import InputNameError, ShapeError, SignatureNotFound, UsageError
from gradwire._model import TRUSTED, Model, in_order, only_solve, package_of, times, trusted
from gradwire._package import (
    CARD,
    COMPUTE,
    SERVING_DEFAULT,
    SIGNATURES,
    SOLVE,
    UNCERTAINTY,
    VALUE,
    Part,
    Signature,
    TensorSpec,
    cotangent_name,
    name_mismatch,
    numpy_dtype,
    row_to_fill,
    tangent_name,
)

# The option that gives a direction, and the name of the tensor that it gives for an input or output.
DIRECTION_OPTIONS: Final = {Part.TANGENTS: ("tangent", tangent_name), Part.COTANGENTS: ("cotangent", cotangent_name)}


@final
@dataclass(frozen=True)
class Query:
    """One signature of one model, as the command calls it.

    Attributes:
        signature: what is called; its inputs in the order in which they are shown.
        outputs: the outputs to show, in this order.
        directions: the inputs that are tangents or cotangents; all but one may be left out and are then zero.
        aliases: of the outputs those that are multiples of another: the tensor, and the factor.
    """

    signature: Signature
    outputs: tuple[str, ...]
    directions: tuple[str, ...] = ()
    aliases: Mapping[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])

    def call(self, model: Model, points: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the query; return the completed inputs and the outputs, in the order in which they are shown."""
        inputs = self.complete(points)
        response = model.run(self.signature.name, inputs, [name for name in self.outputs if name not in self.aliases])
        named = {name: times(response[tensor], factor) for name, (tensor, factor) in self.aliases.items()}
        outputs = {name: named[name] if name in named else response[name] for name in self.outputs}
        if self.signature.name == UNCERTAINTY and CARD in model.signatures:
            outputs[TRUSTED] = trusted(package_of(model), inputs, outputs)
        return inputs | outputs

    def complete(self, points: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Complete the inputs of a call.

        Args:
            points: by input name, ``(points, *row)``; a single point goes with every point of the other inputs.

        Returns:
            Every input of the signature, in its order and of one length, omitted directions as zeros.

        Raises:
            InputNameError: an input is missing or unknown, or all directions are omitted.
            ShapeError: inputs have different numbers of points.
            UsageError: fractions for an input of integers, or an omitted direction with rows too large to fill.
        """
        self._check_names(points)
        count = max((len(rows) for rows in points.values() if len(rows) != 1), default=1)
        if any(len(rows) not in (1, count) for rows in points.values()):
            counts = {name: len(rows) for name, rows in points.items()}
            raise ShapeError(
                f"different numbers of points: {counts}; give the same number for each input, or one point"
            )
        return {name: _repeated(points.get(name), spec, count) for name, spec in self.signature.inputs.items()}

    def _check_names(self, points: Mapping[str, Any]) -> None:
        if mismatch := name_mismatch(points, self.signature.inputs, self.directions):
            raise InputNameError(
                f"{mismatch}; the signature {self.signature.name!r} takes {list(self.signature.inputs)}"
            )
        if self.directions and not points.keys() & set(self.directions):
            option, _ = DIRECTION_OPTIONS[SIGNATURES[self.signature.name].direction or Part.TANGENTS]
            raise InputNameError(
                f"the signature {self.signature.name!r} needs at least one direction of {list(self.directions)}: give "
                f"--{option} NAME=NUMBERS, or a column of that name; omitted directions are zero"
            )


def _repeated(rows: NDArray[Any] | None, spec: TensorSpec, count: int) -> NDArray[Any]:
    if rows is None:
        return np.zeros((count, *row_to_fill(spec.name, spec.row_shape)))
    rows = np.repeat(rows, count, axis=0) if len(rows) == 1 else rows
    return _integers(rows, spec) if numpy_dtype(spec.name, spec.dtype).kind in "iu" else rows


def _integers(rows: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Return the rows of an input of integers, which arrive as float64 from a command line."""
    with np.errstate(invalid="ignore"):
        integers = rows.astype(np.int64)
    if (integers != rows).any():
        raise UsageError(f"input {spec.name!r} is {spec.dtype} and got {rows[integers != rows][0]}: give integers")
    return integers


def check_direction_options(compute: str, options: Mapping[Part, Sequence[str] | None]) -> None:
    """Raise if a direction is given to a signature that takes none of its kind.

    Args:
        compute: a word of ``COMPUTE_WORDS``.
        options: what ``--tangent`` and ``--cotangent`` got.

    Raises:
        UsageError: they do not go together.
    """
    for part, texts in options.items():
        takers = [word for word, kind in COMPUTE.items() if kind.direction is part]
        if texts and compute not in takers:
            words = " or ".join(f"--compute {word}" for word in takers)
            raise UsageError(f"--{DIRECTION_OPTIONS[part][0]} goes with {words}, and got --compute {compute}")


def resolve_query(model: Model, compute: str, signature: str | None = None) -> Query:
    """Resolve what to call.

    Args:
        model: the model to call.
        compute: a word of ``COMPUTE_WORDS``.
        signature: any signature of the package by its name, instead of ``compute``.

    Raises:
        SignatureNotFound: the package has no such signature.
        UsageError: it has several that solve.
    """
    name = signature or (only_solve(package_of(model)) if compute == SOLVE else COMPUTE[compute].name)
    if signature is None and name == VALUE and name not in model.signatures:
        name = SERVING_DEFAULT
    if name == UNCERTAINTY:
        package_of(model).signature(name)  # it tells why a package has none
    if name not in model.signatures:
        raise SignatureNotFound(
            f"{model!r} has signatures {sorted(model.signatures)}, expected {name!r} among them: export the model with "
            "gradwire, and --signatures for second derivatives"
        )
    resolved = model.signatures[name]
    if CARD not in model.signatures:
        return Query(resolved, tuple(sorted(resolved.outputs)), _directions(name, resolved.inputs))
    card = model.card
    targets = [card.solves[name].output] if name in card.solves else []
    inputs = in_order([*targets, *(tensor.name for tensor in card.inputs)], resolved.inputs)
    outputs = package_of(model).result_names(name)
    if compute == VALUE and name == SERVING_DEFAULT:
        outputs = tuple(tensor.name for tensor in card.outputs)
    ordered = Signature(
        name, {input_: resolved.inputs[input_] for input_ in inputs}, resolved.outputs, resolved.optional
    )
    aliases = {alias: of for alias, of in package_of(model).aliases().items() if alias in outputs}
    return Query(ordered, outputs, _directions(name, inputs), aliases)


def _directions(signature: str, inputs: Sequence[str] | Mapping[str, object]) -> tuple[str, ...]:
    part = SIGNATURES[signature].direction if signature in SIGNATURES else None
    if part is None:
        return ()
    suffix = DIRECTION_OPTIONS[part][1]("")
    return tuple(name for name in inputs if name.endswith(suffix))
