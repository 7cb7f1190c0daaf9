"""Which models are served, from where, in which versions: ``ModelServerConfig``, read and written."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

from google.protobuf import text_format
from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from gradwire._errors import UsageError
from gradwire._package import version_directories
from gradwire_serving._config.options import ServerOptions
from gradwire_serving._core import ModelConfig, StatusError, VersionPolicy, invalid_argument

PLATFORM: Final = "tensorflow"
TENSORFLOW: Final = model_server_config_pb2.TENSORFLOW  # the same, as the deprecated model_type says it

ModelServerConfig: TypeAlias = model_server_config_pb2.ModelServerConfig
PolicyMessage: TypeAlias = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy


def models_of(options: ServerOptions, *, remote: bool = False) -> list[ModelConfig]:
    """Return the models that options specify.

    Args:
        options: a directory of models, one model, or a config file.
        remote: whether base paths may be URLs, such as ``s3://bucket/models/log``.

    Raises:
        UsageError: a config that cannot be read, a model twice, a relative path, another platform than TensorFlow,
            labels where they are not allowed, or a directory with no model below it.
    """
    if options.directory is not None:
        return models_below(options.directory)
    if options.model_base_path:
        return [_checked(options.model_name, options.model_base_path, remote=remote)]
    models = read_config_file(Path(options.model_config_file), remote=remote)
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
            name=model.name, base_path=model.url or str(model.base_path), model_platform=PLATFORM
        )
        if model.policy != VersionPolicy():
            entry.model_version_policy.CopyFrom(_policy_message(model.policy))
        for label, version in model.labels.items():
            entry.version_labels[label] = version
    return text_format.MessageToString(config)


def read_config_file(path: Path, *, remote: bool = False) -> list[ModelConfig]:
    """Return the models of a ``ModelServerConfig`` as text; see ``models_of``.

    Raises:
        UsageError: it cannot be read, or cannot be served.
    """
    config = parse_config(path)
    if not config.model_config_list.config:
        raise UsageError(f"{path} names no model; expected model_config_list {{ config {{ name: … base_path: … }} }}")
    try:
        models = models_in(config, remote=remote)
    except StatusError as error:
        raise UsageError(f"{path}: {error}; see serving/models.config") from error
    for model in models:
        _check_name(model.name, model.base_path)
    return models


def parse_config(path: Path) -> ModelServerConfig:
    """Return a ``ModelServerConfig`` of a file of text.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for without end
            raise UsageError(f"{path} is not a file; expected a ModelServerConfig as text")
        return text_format.Parse(path.read_text(encoding="utf-8"), ModelServerConfig())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; expected a ModelServerConfig as text") from error
    except (text_format.ParseError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{path} is not a ModelServerConfig: {error}; see serving/models.config") from error


def models_in(
    config: ModelServerConfig, before: Iterable[ModelConfig] = (), *, remote: bool = False
) -> list[ModelConfig]:
    """Return the models of a message.

    Args:
        config: the message.
        before: the models that were served until now: a model's platform cannot change.
        remote: whether base paths may be URLs.

    Raises:
        StatusError: in TensorFlow Serving's words, if it cannot be served.
    """
    served = {model.name for model in before}
    names: set[str] = set()
    for entry in config.model_config_list.config:
        if entry.name in names:
            raise invalid_argument(f"Illegal to list model {entry.name} multiple times in config list")
        names.add(entry.name)
        platform = entry.model_platform or (PLATFORM if entry.model_type == TENSORFLOW else "")
        if not platform:
            raise invalid_argument(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                f"ModelServerConfig::model_platform, model name is {entry.name}"
            )
        if platform != PLATFORM and entry.name in served:
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {entry.name} platform was {PLATFORM} and new "
                f"platform requested is {platform}"
            )
        if platform != PLATFORM:
            raise invalid_argument(f"Model {entry.name} requests unsupported platform {platform}")
        if is_remote(entry.base_path):
            if not remote:
                raise invalid_argument(_no_remote(entry.name, entry.base_path))
        elif not Path(entry.base_path).is_absolute():
            raise invalid_argument(
                f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}"
            )
    return [
        ModelConfig(
            entry.name,
            Path(entry.base_path),
            _policy(entry.model_version_policy),
            dict(entry.version_labels),
            entry.base_path if is_remote(entry.base_path) else "",
        )
        for entry in config.model_config_list.config
    ]


def is_remote(base_path: str) -> bool:
    """Tell whether a base path is a URL, such as ``s3://bucket/models/log``."""
    return "://" in base_path


def _no_remote(name: str, url: str) -> str:
    return (
        f"model {name} has base path {url}, and the embedded server reads directories of this machine alone; use "
        "--engine tensorflow_model_server or docker"
    )


def _checked(name: str, base_path: str, *, remote: bool = False) -> ModelConfig:
    _check_name(name, Path(base_path))
    if is_remote(base_path):
        if not remote:
            raise UsageError(_no_remote(name, base_path))
        return ModelConfig(name, Path(base_path), url=base_path)
    if not Path(base_path).is_absolute():
        raise UsageError(f"model {name!r} has base path {base_path!r}, expected an absolute path")
    return ModelConfig(name, Path(base_path))


def _check_name(name: str, base_path: Path) -> None:
    if not name:
        raise UsageError(f"the model at {base_path} has no name; expected one")


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
