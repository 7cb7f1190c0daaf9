"""Runs what was written through onnxruntime."""

from __future__ import annotations

from typing import Any, Final

import onnx  # pyright: ignore[reportMissingImports] - in the environment of the bridges
import onnxruntime  # pyright: ignore[reportMissingImports] - in the environment of the bridges

from gradwire._errors import ConversionError
from gradwire_export._checks import Arrays
from gradwire_export._conversion import Run

ERRORS: Final = 3  # onnxruntime's level: not a line for every constant that it folds


def runner(name: str, model: onnx.ModelProto) -> Run:
    """Return what runs a signature; ConversionError where onnxruntime does not."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS
    outputs = [output.name for output in model.graph.output]

    def explained(error: Exception, verb: str) -> ConversionError:
        text = " ".join(str(error).split())
        return ConversionError(f"onnxruntime {onnxruntime.__version__} does not {verb} signature {name!r}: {text}")

    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions have no other base
        raise explained(error, "load") from error

    def run(inputs: Arrays) -> Arrays:
        try:
            results: Any = session.run(outputs, inputs)
        except Exception as error:
            raise explained(error, "run") from error
        return dict(zip(outputs, results, strict=True))

    return run
