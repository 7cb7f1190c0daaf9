"""Which models are served, from where, in which versions: ``ModelServerConfig``, read and written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

from google.protobuf import text_format
from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from gradwire._errors import UsageError
from gradwire._package import version_directories
from gradwire_serving._config.options import ServerOptions
from gradwire_serving._core import ModelConfig, VersionPolicy

PLATFORM: Final = "tensorflow"

ModelServerConfig: TypeAlias = model_server_config_pb2.ModelServerConfig
PolicyMessage: TypeAlias = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy


def models_of(options: ServerOptions) -> list[ModelConfig]:
    """Return the models that options specify.

    Raises:
        UsageError: a config that cannot be read, a model twice, a relative path, another platform than TensorFlow,
            labels where they are not allowed, or a directory with no model below it.
    """
    if options.directory is not None:
        return models_below(options.directory)
    if options.model_base_path:
        return [_checked(options.model_name, options.model_base_path)]
    models = _read(Path(options.model_config_file))
    labelled = [model.name for model in models if model.labels]
    if labelled and not options.allow_version_labels_for_unavailable_models:
        raise UsageError(
            f"{options.model_config_file} labels versions of {', '.join(labelled)}, which are not available while the "
            "server starts; add --allow_version_labels_for_unavailable_models"
        )
    return models


def models_below(directory: Path) -> list[ModelConfig]:
    """Return every model below a directory such as ``models``: each subdirectory that holds numbered versions."""
    root = directory.absolute()
    try:
        children = sorted(child for child in root.iterdir() if child.is_dir())
    except OSError as error:
        raise UsageError(f"{directory} cannot be listed ({error.strerror}); expected a directory of models") from error
    models = [_checked(child.name, str(child)) for child in children if version_directories(child)]
    if models:
        return models
    if version_directories(root):
        raise UsageError(f"{directory} is itself a model, expected a directory of models: serve {root.parent}")
    raise UsageError(
        f"no model below {directory}: expected {directory}/NAME/VERSION/saved_model.pb, as `gradwire export` writes"
    )


def config_text(models: Iterable[ModelConfig]) -> str:
    """Return models as the text of a ``ModelServerConfig``, for ``--model_config_file``."""
    config = ModelServerConfig()
    for model in models:
        entry = config.model_config_list.config.add(
            name=model.name, base_path=str(model.base_path), model_platform=PLATFORM
        )
        if model.policy != VersionPolicy():
            entry.model_version_policy.CopyFrom(_policy_message(model.policy))
        for label, version in model.labels.items():
            entry.version_labels[label] = version
    return text_format.MessageToString(config)


def _read(path: Path) -> list[ModelConfig]:
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), ModelServerConfig())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; expected a ModelServerConfig as text") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a ModelServerConfig: {error}; see serving/models.config") from error
    entries = config.model_config_list.config
    if not entries:
        raise UsageError(f"{path} names no model; expected model_config_list {{ config {{ name: … base_path: … }} }}")
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{path} names model {name!r} twice; expected every name once")
    for entry in entries:
        if entry.model_platform != PLATFORM:
            raise UsageError(
                f"model {entry.name!r} in {path} has model_platform {entry.model_platform!r}, expected {PLATFORM!r}"
            )
    return [
        _checked(entry.name, entry.base_path, _policy(entry.model_version_policy), dict(entry.version_labels))
        for entry in entries
    ]


def _checked(
    name: str, base_path: str, policy: VersionPolicy | None = None, labels: dict[str, int] | None = None
) -> ModelConfig:
    if not name:
        raise UsageError(f"the model at {base_path} has no name; expected one")
    if not Path(base_path).is_absolute():
        raise UsageError(f"model {name!r} has base path {base_path!r}, expected an absolute path")
    return ModelConfig(name, Path(base_path), policy or VersionPolicy(), labels or {})


def _policy(message: PolicyMessage) -> VersionPolicy:
    match message.WhichOneof("policy_choice"):
        case "all":
            return VersionPolicy(every=True)
        case "specific":
            return VersionPolicy(specific=tuple(message.specific.versions))
        case _:
            return VersionPolicy(latest=max(1, message.latest.num_versions))


def _policy_message(policy: VersionPolicy) -> PolicyMessage:
    if policy.every:
        return PolicyMessage(all=PolicyMessage.All())
    if policy.specific is not None:
        return PolicyMessage(specific=PolicyMessage.Specific(versions=policy.specific))
    return PolicyMessage(latest=PolicyMessage.Latest(num_versions=policy.latest))
