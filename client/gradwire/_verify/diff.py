"""The differences of two packages: between their cards, and between what they compute."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradwire._errors import UsageError
from gradwire._model import Model
from gradwire._numerics import distance, eps_of, flat_rows, sample_points, ulp_of
from gradwire._package import BY_NAME, SERVING_DEFAULT, Box, Card, CardTensor, boxes_of
from gradwire._verify.probe import run, without_options

DEFAULT_DIFF_POINTS: Final = 1024


@final
@dataclass(frozen=True, slots=True)
class CardDifference:
    """An entry in which two cards differ.

    Attributes:
        what: the entry: ``"domain of x"``.
        first: its value on the first card; None where it has none.
        second: its value on the second.
        matters: whether a caller would notice: another signature, dtype, shape, unit, species or domain. Errors and the
            version of TensorFlow are about how the package was made.
    """

    what: str
    first: Any
    second: Any
    matters: bool


@final
@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How far a tensor of one package is from the other's.

    Attributes:
        tensor: with the first package's name: ``"df_dx of f wrt x"``.
        largest: of |first - second| over the points; infinite where one is finite and the other is not.
        relative: the same over the largest magnitude of either.
        ulps: the same in units in the last place of that magnitude, of the coarser dtype.
        at: the point where it is largest, by input.
    """

    tensor: str
    largest: float
    relative: float
    ulps: float
    at: Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """The differences of two packages.

    Attributes:
        card: the entries in which the cards differ.
        tensors: every output and first derivative that both have; empty where ``unlike`` has a reason.
        points: how many points were compared, in the domain that the two share.
        same_digest: whether graph, variables and assets are the same; None where a card has no digest.
        unlike: why nothing was computed: other inputs, or domains that do not overlap.
    """

    card: tuple[CardDifference, ...]
    tensors: tuple[TensorDifference, ...]
    points: int
    same_digest: bool | None
    unlike: str = ""

    def differs(self, tolerance: float = 0.0) -> bool:
        """Whether a caller would notice.

        Args:
            tolerance: the most that a tensor may differ, relative to its largest magnitude.
        """
        if self.unlike or any(entry.matters for entry in self.card):
            return True
        return any(not entry.relative <= tolerance for entry in self.tensors)

    def to_dict(self) -> dict[str, Any]:
        """Return the differences as plain data."""
        return asdict(self)


def diff(
    first: Model,
    second: Model,
    *,
    domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    points: int = DEFAULT_DIFF_POINTS,
    seed: int = 0,
) -> Difference:
    """Compare two packages: their cards, and what they compute over the domain that they share.

    Args:
        first: from ``connect`` or ``load``.
        second: likewise.
        domain: bounds by input name, in place of what the two domains share.
        points: how many random points, at least one.
        seed: of the points.

    Returns:
        The differences.

    Raises:
        UsageError: no points, or a domain that encloses nothing.
        SignatureNotFound: a package has no card.
        GradwireError: a call failed.
    """
    if points < 1:
        raise UsageError(f"{points} points, expected at least one")
    models = without_options(first), without_options(second)
    cards = models[0].card, models[1].card
    card = tuple(_card_differences(cards, models))
    same = cards[0].digest == cards[1].digest if cards[0].digest and cards[1].digest else None
    unlike = _unlike(cards)
    boxes = {} if unlike else _shared_boxes(cards, domain)
    empty = [name for name, (lower, upper) in boxes.items() if not (lower <= upper).all()]
    if empty:
        unlike = f"the domains of {', '.join(empty)} do not overlap: give one that both cover"
    if unlike:
        return Difference(card, (), 0, same, unlike)
    x = _draw(cards, boxes, points, np.random.default_rng(seed))
    return Difference(card, tuple(_tensor_differences(models, x)), points, same)


def _card_differences(cards: tuple[Card, Card], models: tuple[Model, Model]) -> Iterator[CardDifference]:
    yield from _unless_same("signatures", *(sorted(model.signatures) for model in models), matters=True)
    for role in ("inputs", "outputs"):
        tensors: list[dict[str, CardTensor]] = [
            {tensor.name: tensor for tensor in getattr(card, role)} for card in cards
        ]
        if tensors[0].keys() == tensors[1].keys():  # callers by position, and vectors, go by it
            yield from _unless_same(f"order of the {role}", *(list(by_name) for by_name in tensors), matters=True)
        for name in dict.fromkeys([*tensors[0], *tensors[1]]):
            a, b = (by_name.get(name) for by_name in tensors)
            if a is None or b is None:
                yield CardDifference(f"{role[:-1]} {name}", _shape(a), _shape(b), True)
                continue
            yield from _unless_same(f"{role[:-1]} {name}", _shape(a), _shape(b), matters=True)
            yield from _unless_same(f"unit of {name}", a.unit, b.unit, matters=True)
            yield from _unless_same(f"species of {name}", a.species, b.species, matters=True)
            yield from _unless_same(f"domain of {name}", _domain(a), _domain(b), matters=True)
            yield from _unless_same(f"distances of {name}", _distances(a), _distances(b), matters=True)
    derivatives = [
        [f"{output} wrt {wrt}" for output, by_wrt in card.derivatives.items() for wrt in by_wrt] for card in cards
    ]
    yield from _unless_same("derivatives", *derivatives, matters=True)
    yield from _unless_same(
        "aliases", *({n: asdict(a) for n, a in card.aliases.items()} for card in cards), matters=True
    )
    for what in ("errors", "trained", "versions"):
        yield from _entries(what, *(getattr(card, what) for card in cards))


def _unless_same(what: str, a: Any, b: Any, *, matters: bool) -> Iterator[CardDifference]:
    left, right = (json.dumps(value, sort_keys=True, default=str) for value in (a, b))
    if left != right:
        yield CardDifference(what, a, b, matters)


def _entries(what: str, a: Any, b: Any) -> Iterator[CardDifference]:
    """Compare two parts of cards, entry by entry as deep as both are dicts."""
    if not (isinstance(a, dict) or isinstance(b, dict)):
        yield from _unless_same(what, a, b, matters=False)
        return
    left: dict[str, Any] = {**a} if isinstance(a, dict) else {}
    right: dict[str, Any] = {**b} if isinstance(b, dict) else {}
    for key in dict.fromkeys([*left, *right]):
        yield from _entries(f"{what}: {key}", left.get(key), right.get(key))


def _shape(tensor: CardTensor | None) -> str | None:
    return None if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


def _domain(tensor: CardTensor) -> list[Any] | None:
    return None if tensor.domain is None else [tensor.domain.lower, tensor.domain.upper]


def _distances(tensor: CardTensor) -> dict[str, Any] | None:
    return None if tensor.distances is None else {pair: asdict(each) for pair, each in tensor.distances.items()}


def _unlike(cards: tuple[Card, Card]) -> str:
    inputs = [[(tensor.name, tuple(tensor.shape)) for tensor in card.inputs] for card in cards]
    if sorted(inputs[0]) == sorted(inputs[1]):
        return ""
    return f"the inputs differ, {inputs[0]} and {inputs[1]}: there is no point at which to compare"


def _shared_boxes(cards: tuple[Card, Card], domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None) -> dict[str, Box]:
    one, other = (boxes_of(card, domain) for card in cards)
    return {
        name: Box(np.maximum(box.lower, other[name].lower), np.minimum(box.upper, other[name].upper))
        for name, box in one.items()
    }


def _draw(
    cards: tuple[Card, Card], boxes: Mapping[str, Box], points: int, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Draw points that are exact in both packages' dtypes: in those of the coarser one."""
    others = {tensor.name: tensor for tensor in cards[1].inputs}
    dtypes = {tensor.name: BY_NAME[_coarser(tensor, others[tensor.name])].numpy for tensor in cards[0].inputs}
    return {name: sample_points(boxes[name], points, dtype, rng) for name, dtype in dtypes.items()}


def _coarser(a: CardTensor, b: CardTensor) -> str:
    return max((a, b), key=lambda tensor: eps_of(tensor.dtype)).dtype


def _tensor_differences(models: tuple[Model, Model], x: Mapping[str, NDArray[Any]]) -> Iterator[TensorDifference]:
    first, second = (_outputs(model, x) for model in models)
    others = {tensor.name: tensor for tensor in models[1].card.outputs}
    for tensor in models[0].card.outputs:
        other = others.get(tensor.name)
        if other is None or tuple(other.shape) != tuple(tensor.shape):
            continue
        dtype = _coarser(tensor, other)
        yield _compare(tensor.name, first[tensor.name], second[tensor.name], x, dtype)
        names, other_names = (model.card.derivatives.get(tensor.name, {}) for model in models)
        for wrt, name in names.items():
            if wrt in other_names:
                text = f"{name} of {tensor.name} wrt {wrt}"
                yield _compare(text, first[name], second[other_names[wrt]], x, dtype)


def _outputs(model: Model, x: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    dtypes = {tensor.name: BY_NAME[tensor.dtype].numpy for tensor in model.card.inputs}
    return run(model, SERVING_DEFAULT, {name: rows.astype(dtypes[name]) for name, rows in x.items()})


def _compare(
    tensor: str, first: NDArray[Any], second: NDArray[Any], x: Mapping[str, NDArray[Any]], dtype: str
) -> TensorDifference:
    left, right = flat_rows(first), flat_rows(second)
    away = distance(left, right).max(axis=1, initial=0.0)
    row = int(away.argmax())
    both = np.isfinite(left) & np.isfinite(right)
    scale = float(np.abs(np.concatenate([left[both], right[both]])).max(initial=0.0))
    worst = float(away[row])
    at = {name: rows[row].tolist() for name, rows in x.items()}
    return TensorDifference(tensor, worst, worst / scale if scale > 0 else worst, worst / ulp_of(scale, dtype), at)
