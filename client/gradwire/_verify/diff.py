"""What sets two packages apart: what they say of themselves, and what they compute."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire._errors import UsageError
from gradwire._numerics import distance, eps_of, flat_rows, sample_points, ulp_of
from gradwire._package import BY_NAME, SERVING_DEFAULT, Box, boxes_of
from gradwire._verify.runs import plain, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import ArrayLike, NDArray

    from gradwire._model import Model
    from gradwire._package import Card, CardTensor

DEFAULT_DIFF_POINTS: Final = 1024


@final
@dataclass(frozen=True, slots=True)
class Said:
    """Something that two cards say differently.

    Attributes:
        what: in words: ``"domain of x"``.
        first: what the first card says; None where it says nothing.
        second: what the second says.
        matters: whether a caller would notice: another signature, dtype, shape, unit or domain. An error or a
            version of TensorFlow tells of the making.
    """

    what: str
    first: Any
    second: Any
    matters: bool


@final
@dataclass(frozen=True, slots=True)
class Computed:
    """How far a tensor of one package is from the other's.

    Attributes:
        tensor: in words, with the first package's name: ``"df_dx of f by x"``.
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
    """What sets two packages apart.

    Attributes:
        said: what the cards say differently.
        computed: every output and first derivative that both have; empty where ``unlike`` says why.
        points: how many points were compared, in what the two domains share.
        same_digest: whether graph, variables and assets are the same; None where a card has no digest.
        unlike: why nothing was computed: other inputs, or domains that share nothing.
    """

    said: tuple[Said, ...]
    computed: tuple[Computed, ...]
    points: int
    same_digest: bool | None
    unlike: str = ""

    def differs(self, tolerance: float = 0.0) -> bool:
        """Whether a caller would notice.

        Args:
            tolerance: the most that a tensor may differ, relative to its largest magnitude.
        """
        said = any(entry.matters for entry in self.said)
        return bool(self.unlike) or said or any(not entry.relative <= tolerance for entry in self.computed)

    def to_dict(self) -> dict[str, Any]:
        """Gives it as plain data."""
        return asdict(self)


def diff(
    first: Model,
    second: Model,
    *,
    domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    points: int = DEFAULT_DIFF_POINTS,
    seed: int = 0,
) -> Difference:
    """Compares two packages: what their cards say, and what they compute over the domain that they share.

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
    first, second = plain(first), plain(second)
    one, other = first.card, second.card
    said = tuple(_said(one, other, first, second))
    same = one.digest == other.digest if one.digest and other.digest else None
    unlike = _unlike(one, other)
    boxes = {} if unlike else _shared(one, other, domain)
    empty = [name for name, (lower, upper) in boxes.items() if not (lower <= upper).all()]
    if empty:
        unlike = f"the domains of {', '.join(empty)} share nothing: give one that both cover"
    if unlike:
        return Difference(said, (), 0, same, unlike)
    x = _draw(one, other, boxes, points, np.random.default_rng(seed))
    computed = tuple(_computed(first, second, x))
    return Difference(said, computed, points, same)


def _said(one: Card, other: Card, first: Model, second: Model) -> Iterator[Said]:
    signatures = [sorted(model.signatures) for model in (first, second)]
    yield from _unless_same("signatures", *signatures, matters=True)
    for role in ("inputs", "outputs"):
        tensors: list[dict[str, CardTensor]] = [
            {tensor.name: tensor for tensor in getattr(card, role)} for card in (one, other)
        ]
        for name in dict.fromkeys([*tensors[0], *tensors[1]]):
            a, b = (by_name.get(name) for by_name in tensors)
            if a is None or b is None:
                yield Said(f"{role[:-1]} {name}", _shape(a), _shape(b), True)
                continue
            yield from _unless_same(f"{role[:-1]} {name}", _shape(a), _shape(b), matters=True)
            yield from _unless_same(f"unit of {name}", a.unit, b.unit, matters=True)
            yield from _unless_same(f"domain of {name}", _domain(a), _domain(b), matters=True)
    yield from _unless_same("derivatives", _pairs(one), _pairs(other), matters=True)
    for what in ("errors", "trained", "versions"):
        yield from _entries(what, getattr(one, what), getattr(other, what))


def _unless_same(what: str, a: Any, b: Any, *, matters: bool) -> Iterator[Said]:
    if _key(a) != _key(b):
        yield Said(what, a, b, matters)


def _entries(what: str, a: Any, b: Any) -> Iterator[Said]:
    """Two parts of cards, entry by entry as deep as both are dicts."""
    if not (isinstance(a, dict) or isinstance(b, dict)):
        yield from _unless_same(what, a, b, matters=False)
        return
    left: dict[str, Any] = {**a} if isinstance(a, dict) else {}
    right: dict[str, Any] = {**b} if isinstance(b, dict) else {}
    for key in dict.fromkeys([*left, *right]):
        yield from _entries(f"{what}: {key}", left.get(key), right.get(key))


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _shape(tensor: CardTensor | None) -> str | None:
    return None if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


def _domain(tensor: CardTensor) -> list[Any] | None:
    return None if tensor.domain is None else [tensor.domain.lower, tensor.domain.upper]


def _pairs(card: Card) -> list[str]:
    return [f"{output} by {wrt}" for output, by in card.derivatives.items() for wrt in by]


def _unlike(one: Card, other: Card) -> str:
    inputs = [[(tensor.name, tuple(tensor.shape)) for tensor in card.inputs] for card in (one, other)]
    if sorted(inputs[0]) == sorted(inputs[1]):
        return ""
    return f"the inputs are others, {inputs[0]} and {inputs[1]}: there is no point at which to compare"


def _shared(one: Card, other: Card, domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None) -> dict[str, Box]:
    boxes = [boxes_of(card, domain) for card in (one, other)]
    return {
        name: Box(np.maximum(lower, boxes[1][name].lower), np.minimum(upper, boxes[1][name].upper))
        for name, (lower, upper) in boxes[0].items()
    }


def _draw(
    one: Card, other: Card, boxes: Mapping[str, Box], points: int, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Points that are exact in both packages' dtypes: those of the coarser one."""
    theirs = {tensor.name: tensor for tensor in other.inputs}
    return {
        tensor.name: sample_points(
            boxes[tensor.name], points, BY_NAME[_coarser(tensor, theirs[tensor.name])].numpy, rng
        )
        for tensor in one.inputs
    }


def _coarser(a: CardTensor, b: CardTensor) -> str:
    return max((a, b), key=lambda tensor: eps_of(tensor.dtype)).dtype


def _computed(first: Model, second: Model, x: Mapping[str, NDArray[Any]]) -> Iterator[Computed]:
    found, theirs = (_at(model, x) for model in (first, second))
    others = {tensor.name: tensor for tensor in second.card.outputs}
    for tensor in first.card.outputs:
        if tensor.name not in others or tuple(others[tensor.name].shape) != tuple(tensor.shape):
            continue
        dtype = _coarser(tensor, others[tensor.name])
        yield _compare(tensor.name, found[tensor.name], theirs[tensor.name], x, dtype)
        mine, their = (model.card.derivatives.get(tensor.name, {}) for model in (first, second))
        for wrt, name in mine.items():
            if wrt in their:
                subject = f"{name} of {tensor.name} by {wrt}"
                yield _compare(subject, found[name], theirs[their[wrt]], x, dtype)


def _at(model: Model, x: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    dtypes = {tensor.name: BY_NAME[tensor.dtype].numpy for tensor in model.card.inputs}
    return run(model, SERVING_DEFAULT, {name: rows.astype(dtypes[name]) for name, rows in x.items()})


def _compare(tensor: str, a: NDArray[Any], b: NDArray[Any], x: Mapping[str, NDArray[Any]], dtype: str) -> Computed:
    left, right = flat_rows(a), flat_rows(b)
    away = distance(left, right).max(axis=1, initial=0.0)
    row = int(away.argmax())
    both = np.isfinite(left) & np.isfinite(right)
    scale = float(np.abs(np.concatenate([left[both], right[both]])).max(initial=0.0))
    worst = float(away[row])
    at = {name: rows[row].tolist() for name, rows in x.items()}
    return Computed(tensor, worst, worst / scale if scale > 0 else worst, worst / ulp_of(scale, dtype), at)
