"""The proof of a package with every signature: right ones pass, and each planted fault is caught by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import gradwire
from gradwire import Model, Verification

SEEDS = range(2)
Arrays = dict[str, np.ndarray]
Right = Callable[..., Arrays]
Fault = Callable[[Right, Arrays], Arrays]
SUBSETS = [
    None,
    ("serving_default",),
    ("serving_default", "value", "jvp"),
    ("serving_default", "value", "vjp"),
    ("serving_default", "hvp"),
    ("serving_default", "hessian", "value"),
]


def failed(found: Verification) -> set[str]:
    """The names of the checks that failed."""
    return {check.name for check in found.checks if not check.passed}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("keep", SUBSETS, ids=str)
def test_right_derivatives_pass(make_network: Callable[..., Model], keep: tuple[str, ...] | None, dtype: str):
    """Whatever signatures a package has, right ones pass with room to spare, with a reference and without."""
    for seed in SEEDS:
        found = gradwire.verify(make_network(dtype, keep=keep, reference=seed > 0), seed=seed)
        assert found.passed, (seed, found.failures)
        assert [check.number for check in found.checks] == [1, 2, 3, 4, 5, 6, 7, 8]
        worst = [f.worst for check in found.checks for f in check.findings if f.worst is not None]
        assert max(worst) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_of_kinks_passes(make_network: Callable[..., Model], dtype: str):
    """ReLU, with its Hessian of zeros: kinks are told, points at them left out, and nothing fails for any seed."""
    for seed in range(8):
        found = gradwire.verify(make_network(dtype, relu=True), seed=seed)
        assert found.passed, (seed, found.failures)
        assert "kinks on" in found.checks[5].findings[0].note


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fault_between_kinks_is_caught(make_network: Callable[..., Model], dtype: str):
    """A Hessian that is not zero, a sign that is flipped: kinks hide neither."""
    tilted = changed("d2f_dx2", lambda array: array + 0.05)
    for fault in ({"hessian": tilted}, {"serving_default": flipped("dw_dx"), "hessian": flipped("dw_dx")}):
        model = make_network(dtype, fault, relu=True, reference=False, keep=("serving_default", "value", "hessian"))
        assert "taylor" in failed(gradwire.verify(model))


def changed(tensor: str, change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    """A fault of one tensor."""

    def fault(right: Right, inputs: Arrays) -> Arrays:
        found = right(**inputs)
        return found | {tensor: change(found[tensor]).astype(found[tensor].dtype)}

    return fault


def scaled(tensor: str) -> Fault:
    """A tensor times 1 + 1e-3."""
    return changed(tensor, lambda array: array * (1 + 1e-3))


def flipped(tensor: str) -> Fault:
    """The sign of one component flipped."""
    return changed(tensor, lambda array: array * np.where(np.arange(array.shape[-1]) == 1, -1, 1))


def transposed(tensor: str) -> Fault:
    """A square Jacobian transposed."""
    return changed(tensor, lambda array: array.swapaxes(-1, -2))


def swapped_rows(right: Right, inputs: Arrays) -> Arrays:
    """Rows 0 and 1 of every derivative swapped, where there are two."""
    found = right(**inputs)
    order = [1, 0, *range(2, len(inputs["x"]))] if len(inputs["x"]) > 1 else [0]
    return {name: array[order] if name not in ("f", "w") and len(array) else array for name, array in found.items()}


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """Rounds to the 8 bits of bfloat16, to nearest."""
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32).astype(array.dtype)


def rounded_input(right: Right, inputs: Arrays) -> Arrays:
    """The derivatives are those at the input rounded to bfloat16, the outputs those at the input."""
    rounded = right(**{name: to_bfloat16(rows) for name, rows in inputs.items()})
    return rounded | {name: right(**inputs)[name] for name in ("f", "w")}


def without_cross_terms(right: Right, inputs: Arrays) -> Arrays:
    """The Hessian's blocks of one input with another are forgotten: x moves x's gradient alone."""
    found = right(**inputs)
    x_alone = right(**inputs | {"t_dot": 0 * inputs["t_dot"]})
    t_alone = right(**inputs | {"x_dot": 0 * inputs["x_dot"]})
    own = {name: x_alone[name] if "dx" in name else t_alone[name] for name in found if name.endswith("_dot")}
    return found | own


def unsymmetric(array: np.ndarray) -> np.ndarray:
    """A Hessian whose lower triangle is lost."""
    return 2 * np.triu(array) - array * np.eye(array.shape[-1])


def wrong_value(right: Right, inputs: Arrays) -> Arrays:
    """F from rounded weights: 1e-4 too large."""
    found = right(**inputs)
    return found | {"f": (found["f"] * (1 + 1e-4)).astype(found["f"].dtype)}


def coupled(right: Right, inputs: Arrays) -> Arrays:
    """F shifted by the mean over the batch, as batch normalisation in training mode does."""
    found = right(**inputs)
    return found | {"f": found["f"] - 1e-3 * np.nanmean(found["f"]) if len(found["f"]) else found["f"]}


# What is planted: signatures at fault, the fault, the checks that see it in float32, and those that do in float64.
FAULTS: dict[str, tuple[tuple[str, ...], Fault, set[str], set[str]]] = {
    "df scaled by 1 + 1e-3": (
        ("serving_default",),
        scaled("dw_dx"),
        {"adjoint", "reference"},
        {"taylor", "adjoint", "reference"},
    ),
    "sign flipped in one component": (
        ("serving_default",),
        flipped("df_dx"),
        {"taylor", "adjoint", "reference"},
        {"taylor", "adjoint", "reference"},
    ),
    "Jacobian transposed": (
        ("serving_default",),
        transposed("dw_dx"),
        {"taylor", "adjoint", "reference"},
        {"taylor", "adjoint", "reference"},
    ),
    "hvp without the cross terms": (
        ("hvp",),
        without_cross_terms,
        {"taylor", "adjoint"},
        {"taylor", "adjoint"},
    ),
    "two rows swapped": (("serving_default",), swapped_rows, {"taylor", "rows"}, {"taylor", "rows"}),
    "derivative at the input rounded to bfloat16": (
        ("serving_default",),
        rounded_input,
        {"adjoint", "reference"},
        {"taylor", "adjoint", "reference"},
    ),
    "jvp scaled by 1 + 1e-3": (("jvp",), scaled("w_dot"), {"adjoint"}, {"adjoint"}),
    "vjp with a sign flipped": (("vjp",), flipped("x_bar"), {"adjoint"}, {"adjoint"}),
    "hvp scaled by 1 + 1e-3": (("hvp",), scaled("df_dx_dot"), {"adjoint"}, {"taylor", "adjoint"}),
    "Hessian scaled by 1 + 1e-3": (
        ("hessian",),
        scaled("d2f_dx2"),
        {"adjoint", "reference"},
        {"taylor", "adjoint", "reference"},
    ),
    "Hessian unsymmetric": (
        ("hessian",),
        changed("d2f_dx2", unsymmetric),
        {"taylor", "adjoint", "reference"},
        {"taylor", "adjoint", "reference"},
    ),
    "value of another function": (("value",), wrong_value, {"adjoint"}, {"taylor", "adjoint"}),
    "a batch that matters": (
        ("value",),
        coupled,
        {"taylor", "adjoint", "rows"},
        {"taylor", "adjoint", "rows"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_caught(make_network: Callable[..., Model], name: str, dtype: str):
    """Each fault fails the checks that are meant to see it, for every seed."""
    signatures, fault, in_float32, in_float64 = FAULTS[name]
    expected = in_float32 if dtype == "float32" else in_float64
    for seed in SEEDS:
        found = gradwire.verify(make_network(dtype, dict.fromkeys(signatures, fault)), seed=seed)
        assert failed(found) >= expected, (seed, found.failures)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(FAULTS)[:6])
def test_a_fault_of_every_signature_alike_is_caught(make_network: Callable[..., Model], name: str, dtype: str):
    """Where all signatures are wrong in the same way nothing contradicts anything: differences and references do."""
    _, fault, *_ = FAULTS[name]
    signatures = ("hvp",) if "hvp" in name else ("serving_default", "hvp", "hessian")
    keep = ("value", *signatures) if signatures != ("hvp",) else ("serving_default", "hvp")
    model = make_network(dtype, dict.fromkeys(signatures, fault), keep=keep)
    assert failed(gradwire.verify(model)) & {"taylor", "reference"}


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("df scaled by 1 + 1e-3", "float64", {"serving_default", "value", "jvp", "vjp", "hvp", "hessian"}),
        ("sign flipped in one component", "float32", {"serving_default", "jvp", "vjp", "hvp", "hessian"}),
        ("jvp scaled by 1 + 1e-3", "float32", {"jvp"}),
        ("vjp with a sign flipped", "float64", {"vjp"}),
        ("hvp without the cross terms", "float32", {"hvp"}),
        ("hvp scaled by 1 + 1e-3", "float64", {"hvp"}),
        ("hvp scaled by 1 + 1e-3", "float32", {"hvp", "hessian"}),  # differences see neither: both are suspect
        ("Hessian unsymmetric", "float32", {"hessian"}),
        ("value of another function", "float32", {"value", "serving_default"}),
    ],
)
def test_a_fault_convicts_its_signature(make_network: Callable[..., Model], name: str, dtype: str, expected: set[str]):
    """Of two that contradict each other, the one that differences or the reference contradict too."""
    signatures, fault, *_ = FAULTS[name]
    found = gradwire.verify(make_network(dtype, dict.fromkeys(signatures, fault)))
    wrong = found.wrong_signatures()
    assert set(wrong) <= expected
    assert set(signatures) <= set(wrong)
    assert all(text.split(":")[0] in failed(found) for texts in wrong.values() for text in texts)


def test_what_is_known_from_elsewhere_decides(make_network: Callable[..., Model]):
    """In float32 hvp and hessian contradict each other by a thousandth; float64 differences told which is wrong."""
    signatures, fault, *_ = FAULTS["hvp scaled by 1 + 1e-3"]
    found = gradwire.verify(make_network("float32", dict.fromkeys(signatures, fault)))
    assert set(found.wrong_signatures({"hvp": ("off",)})) == {"hvp"}
    assert found.wrong_signatures({"hvp": ("off",)})["hvp"][0] == "off"
