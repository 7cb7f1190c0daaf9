"""Classify, Regress and MultiInference over gRPC: the refusals that a package's signatures give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, final

from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from gradwire_serving._core import CLASSIFY, REGRESS, Code, ExampleMethod, Resolver, StatusError, invalid_argument
from gradwire_serving._grpc.counter import RequestCounter
from gradwire_serving._grpc.methods import Method
from gradwire_serving._grpc.services import model_ref, parse


@final
class ExampleMethods:
    """The methods of PredictionService that take ``tf.Example``; TensorFlow Serving looks at the signature first."""

    def __init__(self, resolver: Resolver, counter: RequestCounter) -> None:
        self._resolver = resolver
        self._counter = counter

    @property
    def methods(self) -> dict[str, Method]:
        """The methods by their full name."""
        return {
            "/tensorflow.serving.PredictionService/Classify": self.classify,
            "/tensorflow.serving.PredictionService/Regress": self.regress,
            "/tensorflow.serving.PredictionService/MultiInference": self.multi_inference,
        }

    def classify(self, data: bytes, _deadline: float | None) -> bytes:
        """Refuse a ``ClassificationRequest``."""
        request = parse(classification_pb2.ClassificationRequest, data)
        return self._counted("Classify", request, lambda: self._refuse(CLASSIFY, request))

    def regress(self, data: bytes, _deadline: float | None) -> bytes:
        """Refuse a ``RegressionRequest``."""
        request = parse(regression_pb2.RegressionRequest, data)
        return self._counted("Regress", request, lambda: self._refuse(REGRESS, request))

    def multi_inference(self, data: bytes, _deadline: float | None) -> bytes:
        """Refuse a ``MultiInferenceRequest`` by its first task."""
        request = parse(inference_pb2.MultiInferenceRequest, data)
        if not request.tasks:
            raise invalid_argument("ModelSpec has no name specified.")
        task = request.tasks[0]
        return self._counted("MultiInference", task, lambda: self._refuse_task(task))

    def _counted(self, api: str, request: Any, refuse: Callable[[], NoReturn]) -> bytes:
        return self._counter.run(api, request.model_spec.name, refuse)

    def _refuse_task(self, task: inference_pb2.InferenceTask) -> NoReturn:
        match task.method_name:
            case "tensorflow/serving/classify":
                self._refuse(CLASSIFY, task)
            case "tensorflow/serving/regress":
                self._refuse(REGRESS, task)
            case other:
                with self._resolver.use(model_ref(task)):
                    raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {other}")

    def _refuse(self, method: ExampleMethod, request: Any) -> NoReturn:
        with self._resolver.use(model_ref(request)) as (_, servable):
            raise method.refusal(servable.signature_defs, request.model_spec.signature_name)
