"""Labels in the config file that a server polls: promotion of a version, and rollback, which is the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

from gradwire._errors import UsageError
from gradwire._package import StagedPath, version_directories
from gradwire_serving._config.models import ModelServerConfig, config_text, models_below, parse_config
from gradwire_serving._core import SAVED_MODEL_FILES

DEFAULT_CONFIG: Final = "models.config"  # beside the models


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion changed.

    Attributes:
        config: the config file.
        model: the model's name.
        label: the label.
        version: the version that it names now.
        before: the one that it named, or None.
        served: the versions that the config asks for, lowest first; None for all there are.
    """

    config: Path
    model: str
    label: str
    version: int
    before: int | None
    served: tuple[int, ...] | None


def promote(model: Path, version: int, *, label: str, config: Path | None = None) -> Promotion:
    """Let a label name a version of a model, in the config file that a server polls.

    The file is replaced as a whole. Its entry then asks for the versions that it asked for, without the one that lost
    its last label, and the new one; where there is no file, one is made of the models beside this one.

    Args:
        model: the model's directory, such as ``models/wing``.
        version: one of its versions.
        label: such as ``stable`` or ``canary``.
        config: the config file; by default ``models.config`` beside the model.

    Returns:
        What has changed.

    Raises:
        UsageError: there is no such version, or the config cannot be read or has no such model.
    """
    versions = version_directories(model)
    if version not in versions or not any((versions[version] / file).is_file() for file in SAVED_MODEL_FILES):
        there = ", ".join(map(str, sorted(versions))) or "none"
        raise UsageError(f"{model} has no version {version} with a SavedModel; its versions: {there}")
    if not label:
        raise UsageError("the label is empty; expected one such as stable or canary")
    config = config or model.absolute().parent / DEFAULT_CONFIG
    head, message = _read(config, model)
    name = model.absolute().name
    entries = {entry.name: entry for entry in message.model_config_list.config}
    if name not in entries:
        raise UsageError(f"{config} has no model {name!r}; its models: {', '.join(sorted(entries)) or 'none'}")
    entry = entries[name]
    before = entry.version_labels.get(label)
    entry.version_labels[label] = version
    served = _served(entry, version, before)
    with StagedPath(config, is_directory=False) as staged:
        staged.path.write_text(head + text_format.MessageToString(message), encoding="utf-8")
    return Promotion(config, name, label, version, before, served)


def _read(config: Path, model: Path) -> tuple[str, ModelServerConfig]:
    """Return the comment at the head of a config file, which stays, and its message."""
    if not config.exists():
        return "", text_format.Parse(config_text(models_below(model.absolute().parent)), ModelServerConfig())
    message = parse_config(config)
    lines = config.read_text(encoding="utf-8").splitlines(keepends=True)
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:end]), message


def _served(entry: Any, version: int, before: int | None) -> tuple[int, ...] | None:
    policy = entry.model_version_policy
    if policy.WhichOneof("policy_choice") == "all":
        return None
    labelled = set(entry.version_labels.values())
    served = labelled | set(policy.specific.versions)
    if before is not None and before not in labelled:
        served.discard(before)
    served.add(version)
    del policy.specific.versions[:]
    policy.specific.versions.extend(sorted(served))
    return tuple(sorted(served))
