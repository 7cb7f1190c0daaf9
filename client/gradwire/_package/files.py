"""The files of a package: where they lie, which versions there are, and whether they are as they were exported."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gradwire._errors import PackageError, UsageError
from gradwire._package.card import Card

# Paths within a version directory; TensorFlow Serving knows them all but the card.
GRAPH_FILE: Final = Path("saved_model.pb")
BLOCKS_LOOP: Final = "gradwire_blocks"  # names the loop over the blocks of a large call, in a package's graph
VARIABLES: Final = Path("variables")
ASSETS: Final = Path("assets")
CARD_FILE: Final = ASSETS / "card.json"
WARMUP_FILE: Final = Path("assets.extra") / "tf_serving_warmup_requests"
NETWORK_FILE: Final = Path("assets.extra") / "network.json"  # the Keras layers behind it, for a fit to start from
MAX_VERSION: Final = 2**63 - 1  # an int64, as TensorFlow Serving's protocol has it


def version_number(name: str) -> int | None:
    """Read a directory's name as a version (``0000009`` is 9); None where it is not a number, or no int64."""
    number = int(name) if name.isascii() and name.isdigit() else None
    return None if number is None or number > MAX_VERSION else number


def version_directories(base: Path) -> dict[int, Path]:
    """Return the version directories of a model, by number.

    Args:
        base: the model's directory, which must exist.
    """
    numbers = {entry: version_number(entry.name) for entry in base.iterdir() if entry.is_dir()}
    return {number: entry for entry, number in numbers.items() if number is not None}


def find_package(path: str | os.PathLike[str]) -> Path:
    """Find the version to load.

    Args:
        path: ``models/log``, of which the highest number is taken, or a version such as ``models/log/3``.

    Returns:
        The version's directory, absolute.

    Raises:
        PackageError: there is none; the message says what is missing.
        UsageError: it is no path.
    """
    try:
        path = Path(path)
    except TypeError:
        raise UsageError(f"package {path!r}, expected a path as text or Path, such as 'models/log'") from None
    if not path.is_dir():
        raise PackageError(f"{path} is not a directory, expected a package such as models/log or models/log/1")
    if (path / GRAPH_FILE).is_file():
        return path.resolve()
    versions = version_directories(path)
    if not versions:
        raise PackageError(
            f"{path} has neither {GRAPH_FILE} nor a numbered version below it, expected "
            f"{path / '1' / GRAPH_FILE}: write one with `gradwire export`"
        )
    newest = versions[max(versions)]
    if not (newest / GRAPH_FILE).is_file():
        raise PackageError(f"{newest} has no {GRAPH_FILE}, expected a package as `gradwire export` writes it")
    return newest.resolve()


def file_digests(package: Path) -> dict[str, str]:
    """Hash each file that decides what a package computes.

    Args:
        package: a version directory.

    Returns:
        SHA-256 in hexadecimal by path within the package: the graph, the variables, and every asset but the card (which
        holds these hashes). fingerprint.pb is left out: it holds a random number.

    Raises:
        PackageError: a file cannot be read.
    """
    files = [package / GRAPH_FILE]
    for folder in (VARIABLES, ASSETS):
        files += sorted(path for path in (package / folder).rglob("*") if path.is_file())
    try:
        return {path.relative_to(package).as_posix(): _sha256(path) for path in files if path != package / CARD_FILE}
    except OSError as error:
        raise PackageError(f"cannot read {error.filename}: {error.strerror}") from error


def digest(package: Path) -> str:
    """Hash everything that decides what a package computes: which function this is, whatever its name and place.

    Args:
        package: a version directory.

    Returns:
        ``sha256:`` and the hash over the paths and hashes of ``file_digests``.

    Raises:
        PackageError: a file cannot be read.
    """
    return joined_digest(file_digests(package))


def joined_digest(files: Mapping[str, str]) -> str:
    """Return the digest of a package from the hashes of its files.

    Args:
        files: as ``file_digests`` returns them.
    """
    total = hashlib.sha256()
    for path, content in files.items():
        total.update(f"{path}\0{content}\n".encode())
    return f"sha256:{total.hexdigest()}"


def check_digest(package: Path) -> None:
    """Compare a package with the digest on its own card; where there is no card, or no digest on it, there is no check.

    Args:
        package: a version directory.

    Raises:
        PackageError: a file was changed, removed or added since the card was written; or the card is not a card.
    """
    file = package / CARD_FILE
    if not file.is_file():
        return
    card = Card.from_json(file.read_bytes())
    if not card.digest:
        return
    files = file_digests(package)
    if joined_digest(files) != card.digest:
        raise PackageError(
            f"{package} is not the package that its card describes: {_difference(card.files, files)}; "
            "expected the files as export wrote them: copy or export it again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _difference(expected: Mapping[str, str], actual: Mapping[str, str]) -> str:
    """Name the files that differ, where the card lists them one by one."""
    if not isinstance(expected, dict) or not expected:  # pyright: ignore[reportUnnecessaryIsInstance] - the card is untrusted
        return "its digest differs"
    groups = {
        "changed": [path for path in expected if path in actual and actual[path] != expected[path]],
        "missing": [path for path in expected if path not in actual],
        "added": [path for path in actual if path not in expected],
    }
    texts = [f"{what}: {', '.join(sorted(paths))}" for what, paths in groups.items() if paths]
    return "; ".join(texts) or "its card's digest was changed"
