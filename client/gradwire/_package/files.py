"""The digest of a package: which function this is, whatever name and place it has; and whether it still is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gradwire._errors import PackageError
from gradwire._package.card import Card

if TYPE_CHECKING:
    from collections.abc import Mapping

CARD_FILE: Final = Path("assets/card.json")
GRAPH_FILE: Final = Path("saved_model.pb")
_FOLDERS: Final = ("variables", "assets")


def file_digests(package: Path) -> dict[str, str]:
    """Hashes each file that decides a package's numbers.

    Args:
        package: a version directory.

    Returns:
        SHA-256 in hexadecimal by path within the package: saved_model.pb, the variables, and every asset but the card
        (which holds these hashes). fingerprint.pb is left out: it holds a random number.

    Raises:
        PackageError: a file cannot be read.
    """
    files = [package / GRAPH_FILE]
    for folder in _FOLDERS:
        files += sorted(path for path in (package / folder).rglob("*") if path.is_file())
    try:
        return {path.relative_to(package).as_posix(): _sha256(path) for path in files if path != package / CARD_FILE}
    except OSError as error:
        raise PackageError(f"cannot read {error.filename}: {error.strerror}") from error


def digest(package: Path) -> str:
    """Hashes what decides a package's numbers, into one line.

    Args:
        package: a version directory.

    Returns:
        ``sha256:`` and the hash over the paths and hashes of ``file_digests``.

    Raises:
        PackageError: a file cannot be read.
    """
    return joined_digest(file_digests(package))


def check_digest(package: Path) -> None:
    """Compares a package with the digest on its own card. Where there is no card, or no digest on it, says nothing.

    Args:
        package: a version directory.

    Raises:
        PackageError: a file was changed, removed or added since the card was written; or the card is no card.
    """
    file = package / CARD_FILE
    if not file.is_file():
        return
    card = Card.from_json(file.read_bytes())
    if not card.digest:
        return
    found = file_digests(package)
    if joined_digest(found) != card.digest:
        raise PackageError(
            f"{package} is not the package that its card describes: {_difference(_known(card), found)}; "
            "expected the files as export wrote them: copy or export it again"
        )


def joined_digest(files: Mapping[str, str]) -> str:
    """Gives the digest of a package whose files are hashed already.

    Args:
        files: as ``file_digests`` gives them.
    """
    total = hashlib.sha256()
    for path, content in files.items():
        total.update(f"{path}\0{content}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _known(card: Card) -> Mapping[str, str]:
    """The files on the card; none where what it holds there is something else."""
    return card.files if isinstance(card.files, dict) else {}


def _difference(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Says which files differ, where the card knows them one by one."""
    if not expected:
        return "its digest is another"
    parts = {
        "changed": [path for path in expected if path in found and found[path] != expected[path]],
        "missing": [path for path in expected if path not in found],
        "added": [path for path in found if path not in expected],
    }
    told = [f"{what}: {', '.join(sorted(paths))}" for what, paths in parts.items() if paths]
    return "; ".join(told) or "its card's digest was changed"
