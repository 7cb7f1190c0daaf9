"""Writes a package as an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import onnx  # pyright: ignore[reportMissingImports] - in the environment of the bridges
import onnxruntime  # pyright: ignore[reportMissingImports] - in the environment of the bridges

from gradwire._errors import ConversionError, PackageError, UsageError
from gradwire._package import (
    CARD,
    CARD_FILE,
    HESSIAN,
    SERVING_DEFAULT,
    UNCERTAINTY,
    VALUE,
    Card,
    StagedPath,
    check_digest,
    find_package,
    signatures_of,
)
from gradwire_export._checks import read_graph, read_variables
from gradwire_export._conversion import Draws, agreement, flat_graph
from gradwire_export._onnx.graph import SignatureGraph, signature_graph
from gradwire_export._onnx.model import ONNX_OPSET, alone, onnx_model
from gradwire_export._onnx.runtime import runner

REQUIRED: Final = (SERVING_DEFAULT, VALUE)
DTYPES: Final = ("float32", "float64", "int32", "int64", "bool")  # of which onnxruntime has kernels for nearly all
LARGEST: Final = 2**31 - 1  # bytes that a protobuf message may have
_WAY_OUT: Final = "choose others with --signatures (signatures=[…])"


def write_onnx(package: Path, to: Path, signatures: Sequence[str] | None, graph: str) -> tuple[Card, dict[str, str]]:
    """Write a package as an ONNX file; return its card, and the signatures left out, with the reasons."""
    package = find_package(package)
    check_digest(package)
    if not (package / CARD_FILE).is_file():
        raise PackageError(f"{package} has no card, expected a package that `gradwire export` wrote")
    card = Card.from_json((package / CARD_FILE).read_bytes())
    if card.compiled:
        raise ConversionError(f"{package} is compiled for another runtime (XLA): export it without compile first")
    if strange := [tensor for tensor in (*card.inputs, *card.outputs) if tensor.dtype not in DTYPES]:
        raise ConversionError(f"{strange[0].name!r} is {strange[0].dtype}, expected one of {', '.join(DTYPES)}")
    chosen = _chosen(card, signatures, graph)
    graphs, left_out = _graphs(package, card, chosen, explicit=signatures is not None)
    models = {each.signature.name: alone(each) for each in graphs}
    for model in models.values():
        onnx.checker.check_model(model, full_check=True)
    runs = {name: runner(name, each) for name, each in models.items()}
    distances = agreement(
        package, runs, {each.signature.name: each.signature for each in graphs}, Draws.of(card), "ONNX"
    )
    card = _card(card, [each.signature.name for each in graphs], distances, left_out)
    model = onnx_model(graphs, card.to_json())
    onnx.checker.check_model(model, full_check=True)
    if model.ByteSize() > LARGEST:
        raise ConversionError(f"the file would have {model.ByteSize():,} bytes, at most {LARGEST:,} fit: {_WAY_OUT}")
    with StagedPath(to, is_directory=False) as staged:
        staged.path.write_bytes(model.SerializeToString(deterministic=True))
    return card, left_out


def _chosen(card: Card, signatures: Sequence[str] | None, graph: str) -> list[str]:
    """Return the signatures to write, the graph's first."""
    there = [name for name in card.signatures if name != CARD]
    names = list(signatures) if signatures is not None else there
    if unknown := [name for name in (*names, graph) if name not in there]:
        raise UsageError(f"the package has no signature {unknown[0]!r} to convert, expected some of {there}")
    return list(dict.fromkeys([graph, *REQUIRED, *names]))


def _graphs(
    package: Path, card: Card, names: Sequence[str], *, explicit: bool
) -> tuple[list[SignatureGraph], dict[str, str]]:
    meta_graph = read_graph(package)
    variables = read_variables(package, meta_graph.graph_def)
    by_contract, draws = signatures_of(card), Draws.of(card)
    graphs: list[SignatureGraph] = []
    left_out: dict[str, str] = {}
    for name in names:
        signature = by_contract[name]
        try:
            graphs.append(
                signature_graph(
                    flat_graph(meta_graph, name, variables),
                    signature,
                    lambda rows, signature=signature: draws.inputs(signature, rows),
                )
            )
        except ConversionError as error:
            if name in REQUIRED:
                raise ConversionError(f"{package} cannot be converted: it has {error}") from error
            if explicit or name == names[0]:
                raise ConversionError(
                    f"{package}: signature {name!r} cannot be converted: it has {error}; {_WAY_OUT}"
                ) from error
            left_out[name] = f"it has {error}"
    return graphs, left_out


def _card(
    card: Card, names: Sequence[str], distances: Mapping[str, Mapping[str, float]], left_out: Mapping[str, str]
) -> Card:
    """Return the file's card: the package's, with what the file has of it."""
    about = {"opset": ONNX_OPSET, "ulp": distances, "left_out": dict(left_out)}
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    gone = {"reason": "they were left out of the ONNX file"} if UNCERTAINTY not in names else card.uncertainty
    return replace(
        card,
        signatures=(*(name for name in card.signatures if name in names), CARD),
        second_derivatives=card.second_derivatives if HESSIAN in names else {},
        solves={name: solve for name, solve in card.solves.items() if name in names},
        uncertainty=card.uncertainty if UNCERTAINTY not in card.signatures else gone,
        checks={**card.checks, "onnx": about},
        versions={**card.versions, **versions},
    )
