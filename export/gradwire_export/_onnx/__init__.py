"""A package as an ONNX file: its signatures in ONNX's own operators, for wherever onnxruntime runs."""

from gradwire_export._onnx.convert import write_onnx

__all__ = ["write_onnx"]
