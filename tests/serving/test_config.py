"""Options and configs: what is served, and the messages about bad ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gradwire._errors import UsageError
from gradwire._package.files import version_number
from gradwire_serving import ServerOptions, models_of
from gradwire_serving._config.models import config_text, models_below
from gradwire_serving._core import VersionPolicy


def _entry(name: str = "a", base_path: str = "/models/a", rest: str = 'model_platform: "tensorflow"') -> str:
    return f'model_config_list {{ config {{ name: "{name}" base_path: "{base_path}" {rest} }} }}'


def _from_text(tmp_path: Path, text: str, **options: bool) -> ServerOptions:
    file = tmp_path / "models.config"
    file.write_text(text)
    return ServerOptions(model_config_file=str(file), **options)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("0000009", 9),
        ("12345678901", 12345678901),
        ("new", None),
        ("1.bak", None),
        ("-1", None),
        ("²", None),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("20260101120000123456", None),
    ],
)
def test_a_version_is_a_directory_named_by_a_number(name: str, number: int | None):
    """Leading zeros count for nothing; anything but ASCII digits is no version, nor is what int64 does not hold."""
    assert version_number(name) == number


def test_policies_pick_versions():
    """The latest is the default; more, all, or named ones by the policy."""
    versions = {number: Path(str(number)) for number in (1, 2, 10)}
    assert set(VersionPolicy().select(versions)) == {10}
    assert set(VersionPolicy(latest=2).select(versions)) == {2, 10}
    assert set(VersionPolicy(every=True).select(versions)) == {1, 2, 10}
    assert set(VersionPolicy(specific=(1, 7)).select(versions)) == {1}
    assert VersionPolicy(specific=()).select(versions) == {}
    assert VersionPolicy().select({}) == {}


def test_every_model_below_a_directory_is_found(tmp_path: Path):
    """A subdirectory with a numbered directory is a model, others are not; as text it reads back the same."""
    for made in ("b/1", "a/3", "a/4", "notes/old", ".hidden"):
        (tmp_path / made).mkdir(parents=True)
    (tmp_path / "file").touch()
    models = models_of(ServerOptions(directory=tmp_path))
    assert [(model.name, model.base_path) for model in models] == [
        ("a", tmp_path / "a"),
        ("b", tmp_path / "b"),
    ]
    assert models_of(_from_text(tmp_path, config_text(models))) == models


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", VersionPolicy()),
        ("latest {}", VersionPolicy()),
        ("latest { num_versions: 2 }", VersionPolicy(latest=2)),
        ("all {}", VersionPolicy(every=True)),
        ("specific { versions: 1 versions: 7 }", VersionPolicy(specific=(1, 7))),
        ("specific {}", VersionPolicy(specific=())),
    ],
)
def test_every_policy_survives_the_text(tmp_path: Path, text: str, policy: VersionPolicy):
    """A policy is read from a config file, and read again from what is written."""
    (model,) = models_of(
        _from_text(tmp_path, _entry(rest=f'model_platform: "tensorflow" model_version_policy {{ {text} }}'))
    )
    assert model.policy == policy
    assert models_of(_from_text(tmp_path, config_text([model]))) == [model]


def test_policy_and_labels_survive_the_text(tmp_path: Path):
    """The policy and the labels of a config file are written again as they were."""
    text = _entry(
        rest='model_platform: "tensorflow" model_version_policy { specific { versions: 1 } } '
        'version_labels { key: "stable" value: 1 }'
    )
    flag = {"allow_version_labels_for_unavailable_models": True}
    (model,) = models_of(_from_text(tmp_path, text, **flag))
    assert model.labels == {"stable": 1}
    assert model.policy == VersionPolicy(specific=(1,))
    assert models_of(_from_text(tmp_path, config_text([model]), **flag)) == [model]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("garbage: 1", "is not a ModelServerConfig.*garbage"),
        ("", "names no model"),
        (_entry(base_path="models/a"), "Expected model a to have an absolute path or URI; got base_path.*models/a"),
        (_entry(rest=""), "neither ModelServerConfig::model_type .* nor .*model_platform, model name is a"),
        (_entry(rest='model_platform: "other"'), "Model a requests unsupported platform other"),
        (_entry(name=""), "has no name"),
        (_entry(rest='model_platform: "tensorflow" } config { name: "a"'), "Illegal to list model a multiple times"),
        (
            _entry(rest='model_platform: "tensorflow" version_labels { key: "stable" value: 1 }'),
            "labels versions of a, .*add --allow_version_labels_for_unavailable_models",
        ),
    ],
)
def test_a_bad_config_is_refused_with_its_reason(tmp_path: Path, text: str, message: str):
    """Each message says what was got and what was expected."""
    with pytest.raises(UsageError, match=message):
        models_of(_from_text(tmp_path, text))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "specified by nothing; expected exactly one"),
        ({"directory": Path("m"), "model_base_path": "/m"}, "specified by directory, model_base_path"),
        ({"directory": Path("m"), "port": -1}, "--port is -1"),
        ({"directory": Path("m"), "grpc_max_threads": 1}, "--grpc_max_threads is 1, expected 2 or more"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str):
    """Options that contradict one another, or cannot be, are misuse."""
    with pytest.raises(UsageError, match=message):
        ServerOptions(**options)


def test_the_deprecated_model_type_is_taken(tmp_path: Path):
    """A config of old, with model_type in place of model_platform, is served."""
    (model,) = models_of(_from_text(tmp_path, _entry(rest="model_type: TENSORFLOW")))
    assert model.name == "a"


def test_a_pipe_in_place_of_a_config_is_refused(tmp_path: Path):
    """A server does not wait for somebody to write into a pipe."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not a file; expected a ModelServerConfig"):
        models_of(ServerOptions(model_config_file=str(tmp_path / "pipe")))


def test_places_without_models_are_refused(tmp_path: Path):
    """A missing directory, an empty one, a model itself, a missing file, a relative path."""
    with pytest.raises(UsageError, match="cannot be listed"):
        models_below(tmp_path / "nope")
    with pytest.raises(UsageError, match=r"no model below .*gradwire export"):
        models_below(tmp_path)
    (tmp_path / "1").mkdir()
    with pytest.raises(UsageError, match=f"is itself a model.*serve {tmp_path.parent}"):
        models_below(tmp_path)
    with pytest.raises(UsageError, match="cannot read"):
        models_of(ServerOptions(model_config_file=str(tmp_path / "nope")))
    with pytest.raises(UsageError, match="expected an absolute path"):
        models_of(ServerOptions(model_base_path="models/log"))
