"""Errors of a model against rows of labels: values and derivatives, inside and outside of its domain."""

from gradwire._evaluate.errors import ErrorRatio, Errors
from gradwire._evaluate.evaluate import Evaluation, TensorErrors, evaluate

__all__ = ["ErrorRatio", "Errors", "Evaluation", "TensorErrors", "evaluate"]
