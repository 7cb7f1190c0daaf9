"""Cards, signatures and responses from strangers: whatever is wrong with them ends in the documented tree of errors.

Mutations are seeded, and each is met by all that a caller would do with it: nothing but a GradwireError comes out.
"""

from __future__ import annotations

import json
import random
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.client.models import curved_card, curved_fake
from tests.client.stand_in import StandIn
from typer.testing import CliRunner
from typing_extensions import override

import gradwire
from gradwire import (
    Address,
    Alias,
    Call,
    Card,
    Domain,
    FakeTransport,
    GradwireError,
    Model,
    PackageError,
    Signature,
    TensorSpec,
    Transport,
)
from gradwire._cli.commands.card import show_card
from gradwire._cli.io import CardView
from gradwire._cli.main import app
from gradwire._cli.query import resolve_query
from gradwire._package import boxes_of, signatures_of
from gradwire._wire import (
    PredictCodec,
    messages,
    metadata_request,
    proto,
    read_metadata,
    read_status,
    read_version,
    status_request,
    tensor,
)

WHERE = Address("a:1", "curved")
X, T = np.ones((2, 3)), np.ones((2, 1))


def strangers(acts: list[Callable[[], Any]], seen: Counter[str]) -> None:
    """Do each; count what comes out that no caller of Gradwire expects."""
    for act in acts:
        try:
            act()
        except GradwireError:
            continue
        except Exception as error:  # noqa: BLE001 - it is what the tests look for
            place = traceback.extract_tb(error.__traceback__)[-1]
            seen[f"{type(error).__name__}: {str(error)[:80]} at {place.filename}:{place.lineno}"] += 1


def whole_card() -> Card:
    """A card with something in every entry."""
    card = curved_card()
    x = replace(card.inputs[0], unit="m", domain=Domain([-9.0] * 3, [9.0] * 3), species=("O", "H", "H"))
    finding = {"subject": "f_x", "worst": 0.5, "passed": True, "note": "slope 2"}
    gate = {"rows": 5, "baseline": {"version": 1}, "tensors": {"f": {"old": 1.0, "new": 0.9, "passed": True}}}
    bars = {name: {"typical": [0.1], "trusted_up_to": [0.2] * size} for name, size in (("f_std", 1), ("w_std", 2))}
    return replace(
        card,
        inputs=(x, *card.inputs[1:]),
        aliases={"slope": Alias("f", "x", -1.0)},
        trained={"problem": "curved", "optimizer": {"name": "lm", "steps": 3}, "seconds": 1.5},
        errors={"against": "5 rows", "f": {"max": 0.1, "rmse": 0.01, "labels": "fitted"}},
        uncertainty={"method": "laplace", "bars": bars},
        compiled={"by": "xla", "batch_sizes": [1, 2], "needs": "--flag"},
        checks={"taylor": {"passed": True, "findings": [finding]}, "gate": gate},
        reference={"points": 1, "x": {"x": "1 2 3", "t": [[1.0]]}, "tensors": {"f": [1.0]}, "differences": {}},
        versions={"tensorflow": "2.21"},
        digest="sha256:0",
        files={"saved_model.pb": "0"},
        created="2026-01-01",
    )


HOSTILE: list[Any] = [
    None, True, -1, 0, 1.5, 10**400, 2**70, float("nan"), "", "f_x", "\x1b[31m", "\ud800", [], {}, [[]], [1, [2]],
    ["x"], [10**9] * 6, [1] * 70, [-3], {"x": None}, {"x": {"x": "f"}}, {"z": {"z": {"z": "f"}}},
]  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in JSON data, as its container and key."""
    for key in value if isinstance(value, dict) else range(min(len(value), 3)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def mutated_card(rng: random.Random, text: str) -> str | bytes:
    """The text of a card with entries removed, renamed or replaced, or bytes changed."""
    if rng.random() < 0.2:
        return mutated_bytes(rng, text.encode())
    card = json.loads(text)
    for _ in range(rng.choice([1, 1, 2, 3])):
        holder, key = rng.choice(list(places(card)))
        what = rng.randrange(4)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[rng.choice(["", "x", "z", "\x07"])] = holder[key]
        else:
            holder[key] = rng.choice(HOSTILE)
    return json.dumps(card)


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """Bytes with a few flipped, replaced, removed or inserted."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.choice([0, 1, 127, 128, 255])
            case 2:
                del changed[at : at + rng.randrange(1, 6)]
            case _:
                changed[at:at] = rng.randbytes(rng.randrange(1, 5))
    return bytes(changed)


def ones_of(signature: Signature) -> Callable[..., dict[str, Any]]:
    """A function that returns ones for every output."""
    return lambda **x: {name: np.ones((2, *spec.least_row_shape)) for name, spec in signature.outputs.items()}


def test_cards(capsys: pytest.CaptureFixture[str]):
    """A card is refused as it is read, or does no harm where it is shown and used."""
    text = whole_card().to_json()
    assert Card.from_json(text).to_json() == text
    rng, seen = random.Random(0), Counter[str]()
    specs = signatures_of(whole_card())
    ones = {name: ones_of(spec) for name, spec in specs.items()}
    refused = 0
    for turn in range(600):
        bad = mutated_card(rng, text)
        served = ones | {"card": lambda query, bad=bad: {"card": np.array([bad], object)}}
        model = Model(FakeTransport(served, signatures=list(specs.values())), on_extrapolation="raise")
        try:
            card = model.card
        except PackageError:
            refused += 1
            continue
        acts: list[Callable[[], Any]] = [
            card.to_json,
            lambda card=card: boxes_of(card, None),
            lambda card=card: signatures_of(card),
            lambda card=card: CardView.of(card),
            lambda model=model: model.value_and_grad(X, T),
            lambda model=model: model.hessian(X, T),
            lambda model=model: model.derivative("slope", X, T),
            lambda model=model: model.is_trusted(X, T),
            lambda model=model: resolve_query(model, "grad"),
        ]
        if turn % 50 == 0:
            acts += [
                lambda card=card: show_card(CardView.of(card)),
                lambda model=model: gradwire.verify(model, points=1),
            ]
        strangers(acts, seen)
    assert seen == Counter()
    assert 120 < refused < 480  # both ways were tried


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", "[" * 5000, '{"a":' * 5000, '{"format": 99}', b"\xff", '{"format": "1"}']
)
def test_texts_that_are_no_card(text: str | bytes):
    """What cannot even be parsed is a PackageError, and its sentence comes alone."""
    with pytest.raises(PackageError) as caught:
        Card.from_json(text)
    assert caught.value.__cause__ is None


SIZES = [-1, 0, 1, 2, 3, 2**24, 2**31, 2**62, -(2**63)]
NUMBERS = [0, 1, 2, 3, 7, 8, 14, 19, 20, 99, -1, 2**31 - 1]


def mutate_shape(rng: random.Random, shape: Any) -> None:
    """Give a shape other sizes, or another rank."""
    for dim in shape.dim:
        if rng.random() < 0.3:
            dim.size = rng.choice(SIZES)
    match rng.randrange(20):
        case 0 | 1 | 2:
            shape.dim.add(size=rng.choice(SIZES))
        case 3 | 4 if len(shape.dim):
            del shape.dim[0]
        case 5:
            shape.unknown_rank = True
        case 6:
            for _ in range(70):
                shape.dim.add(size=1)
        case _:
            pass


def mutated_metadata(rng: random.Random, data: bytes) -> bytes:
    """Signatures with other shapes, dtypes and names."""
    if (what := rng.random()) < 0.5:
        return data if what < 0.2 else mutated_bytes(rng, data)
    message = proto.MetadataResponse.FromString(data)
    signatures = proto.SignatureDefMap.FromString(message.metadata["signature_def"].value)
    for signature in signatures.signature_def.values():
        for tensors in (signature.inputs, signature.outputs):
            for name in list(tensors):
                what = rng.random()
                if what < 0.08:
                    mutate_shape(rng, tensors[name].tensor_shape)
                elif what < 0.1:
                    tensors[name].dtype = rng.choice(NUMBERS)
                elif what < 0.12:
                    tensors[rng.choice(["", "x", "\x1b"])].CopyFrom(tensors[name])
                elif what < 0.13:
                    del tensors[name]
    message.metadata["signature_def"].value = signatures.SerializeToString()
    return message.SerializeToString()


def mutated_response(rng: random.Random, data: bytes) -> bytes:
    """A response with other shapes, dtypes and values; or as it was."""
    if (what := rng.random()) < 0.5:
        return data if what < 0.2 else mutated_bytes(rng, data)
    message = proto.PredictResponse.FromString(data)
    for output in message.outputs.values():
        match rng.randrange(10):
            case 0 | 1:
                mutate_shape(rng, output.tensor_shape)
            case 2:
                output.dtype = rng.choice(NUMBERS)
            case 3:
                output.ClearField("double_val")
            case 4:
                output.int_val.extend([1, 2, 3])
            case _:
                pass
    return message.SerializeToString()


class Stranger(Transport):
    """A server in this process whose bytes are mutated."""

    def __init__(self, rng: random.Random, server: StandIn, metadata: bytes) -> None:
        self.rng, self.server, self.metadata = rng, server, metadata

    @property
    @override
    def address(self) -> str:
        return "a stranger"

    @override
    def signatures(self, *, timeout: float) -> Any:
        return read_metadata(self.metadata, WHERE)

    @override
    def predict(self, call: Call, *, timeout: float) -> Any:
        request = PredictCodec(WHERE).request(call)
        try:
            data = self.server.predict(request, None)  # pyright: ignore[reportArgumentType] - it refuses nothing here
        except Exception as error:  # noqa: BLE001 - the fake's own, of a request that it does not know
            raise gradwire.ServerError(f"refused: {error}", code="INVALID_ARGUMENT") from None
        return PredictCodec(WHERE).read(mutated_response(self.rng, data), call, call.rows)

    @override
    def status(self, *, timeout: float) -> Any:
        data = self.server.status(status_request(WHERE), None)  # pyright: ignore[reportArgumentType] - it refuses nothing here
        return read_status(mutated_bytes(self.rng, data))

    @override
    def close(self) -> None:
        pass


@pytest.mark.slow
def test_signatures_and_responses():
    """Every method on signatures, cards, responses and states that were changed on the way."""
    server = StandIn(models={"curved": {1: curved_fake()}})
    metadata = server.metadata(metadata_request(WHERE), None)  # pyright: ignore[reportArgumentType] - as above
    rng, seen, right = random.Random(0), Counter[str](), 0
    for _ in range(400):
        stranger = Stranger(rng, server, mutated_metadata(rng, metadata))
        model = Model(stranger)

        def value(model: Model = model) -> None:
            nonlocal right
            model.value(X, T)
            right += 1

        strangers(
            [
                value,
                lambda model=model: model.card,
                lambda model=model: model.value_and_grad(X, T),
                lambda model=model: model.hessian(X, T),
                lambda model=model: model.jvp(X, T, x_dot=X),
                lambda model=model: model.vjp(X, T, f_bar=T),
                lambda model=model: model.hvp(X[:0], T[:0], t_dot=T[:0]),
                lambda model=model: model.predict("serving_default", x=X, t=T),
                lambda model=model: list(model.stream([(X, T)])),
                lambda model=model: resolve_query(model, "grad").call(model, {"x": X, "t": T}),
                lambda stranger=stranger: read_version(stranger.metadata, WHERE),
                model.status,
            ],
            seen,
        )
    assert seen == Counter()
    assert right > 15  # not everything was refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.inputs["query"].tensor_shape.dim.add(size=2**40), "at most 32 axes and 134,217,728 elements"),
        (
            lambda s: setattr(s.outputs["card"], "dtype", 2),
            r"returns float64 'card', expected int32 'query' and string",
        ),
        (lambda s: s.inputs.pop("query"), "takes nothing and returns string 'card'"),
    ],
)
def test_a_signature_card_that_is_none(change: Callable[[Any], Any], message: str):
    """A package whose signature `card` is another's is refused by name."""
    server = StandIn(models={"curved": {1: curved_fake()}})
    answer = server.metadata(metadata_request(WHERE), None)  # pyright: ignore[reportArgumentType] - it refuses nothing here
    data = proto.MetadataResponse.FromString(answer)
    signatures = proto.SignatureDefMap.FromString(data.metadata["signature_def"].value)
    change(signatures.signature_def["card"])
    data.metadata["signature_def"].value = signatures.SerializeToString()
    stranger = Stranger(random.Random(0), server, data.SerializeToString())
    with pytest.raises(PackageError, match=message):
        Model(stranger).card  # noqa: B018 - it is read here


@pytest.mark.parametrize("size", [2**17, 2**14])
def test_few_bytes_that_stand_for_many(size: int, monkeypatch: pytest.MonkeyPatch):
    """One value for every element of many outputs is refused before it has filled the memory, though shapes agree."""
    for module in (messages, tensor):
        monkeypatch.setattr(module, "MOST_BYTES", 2**20)
    names = [f"f{index}" for index in range(100)]
    row = TensorSpec("x", "float64", (None, 1))
    outputs = {name: TensorSpec(name, "float64", (None, size)) for name in names}
    call = Call(Signature("serving_default", {"x": row}, outputs), {"x": np.ones((4, 1))})
    response = proto.PredictResponse()
    for name in names:
        response.outputs[name].dtype = 2
        for length in (4, size):
            response.outputs[name].tensor_shape.dim.add(size=length)
        response.outputs[name].double_val.append(np.ones(1).tobytes())
    with pytest.raises(gradwire.ServerError, match=r"values that fill it|stands for more than"):
        PredictCodec(WHERE).read(response.SerializeToString(), call, 4)


POINT = ("--input", "x=1")


@pytest.mark.parametrize(
    ("size", "command", "arguments", "table"),
    [
        (10**8, "query", ("--compute", "vjp", "--cotangent", "f=1", *POINT), None),
        (10**8, "bench", ("--compute", "vjp", "--rows", "1", "--seconds", "0.1"), None),
        (10**7, "query", ("--signature", "vjp", "--input", "-"), "x\n1\n"),
    ],
    ids=["zeros", "random", "columns"],
)
def test_a_size_that_a_server_declares_is_not_filled(
    stand_in: StandIn, size: int, command: str, arguments: tuple[str, ...], table: str | None
):
    """So many numbers a row, none of them the caller's: refused, and nothing of that size is made."""
    specs = {"x": (1,), "f_bar": (1,), "w_bar": (size,)}
    inputs = {name: TensorSpec(name, "float64", (None, *row)) for name, row in specs.items()}
    signature = Signature("vjp", inputs, {"x_bar": TensorSpec("x_bar", "float64", (None, 1))})
    stand_in.models["huge"] = {1: gradwire.FakeTransport({"vjp": lambda **_: {}}, signatures=[signature])}
    tracemalloc.start()
    try:
        done = CliRunner().invoke(app, [command, stand_in.target, "huge", *arguments], input=table)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(done.exception, gradwire.UsageError), done
    assert f"'w_bar' is declared with {size:,} elements a row" in str(done.exception)
    assert peak < 16 * 2**20
