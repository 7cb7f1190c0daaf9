"""From the ModelSpec of a request to the version that answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from gradwire._errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

    from gradwire_serving._config import ModelConfig
    from gradwire_serving._core.manager import Manager
    from gradwire_serving._core.servable import Servable


@final
class Resolver:
    """Finds versions by name, number or label.

    Args:
        manager: holds them.
        models: say what their labels stand for.
    """

    def __init__(self, manager: Manager, models: Iterable[ModelConfig]) -> None:
        self._manager = manager
        self._labels = {model.name: model.labels for model in models}

    def use(
        self, request: predict_pb2.PredictRequest | get_model_metadata_pb2.GetModelMetadataRequest
    ) -> AbstractContextManager[tuple[int, Servable]]:
        """Hands out the version that a request asks for; see ``Manager.use``.

        Raises:
            ServerError: INVALID_ARGUMENT for a missing spec or name or an unknown label, else NOT_FOUND.
        """
        if not request.HasField("model_spec"):
            raise ServerError("Missing ModelSpec", code="INVALID_ARGUMENT")
        spec = request.model_spec
        if not spec.name:
            raise ServerError("ModelSpec has no name specified.", code="INVALID_ARGUMENT")
        match spec.WhichOneof("version_choice"):
            case "version":
                return self._manager.use(spec.name, spec.version.value)
            case "version_label":
                return self._manager.use(spec.name, self._labelled(spec.name, spec.version_label))
            case _:
                return self._manager.use(spec.name)

    def _labelled(self, name: str, label: str) -> int:
        version = self._labels.get(name, {}).get(label)
        if version is None:
            raise ServerError(f"Unrecognized servable version label: {label}", code="INVALID_ARGUMENT")
        return version
