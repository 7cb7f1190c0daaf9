"""The digest of a package: which function this is, whatever name and place it has."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

CARD_FILE: Final = Path("assets/card.json")


def digest(package: Path) -> str:
    """Hashes what decides a package's numbers.

    Args:
        package: a version directory.

    Returns:
        ``sha256:`` and the hash over saved_model.pb, the variables and every asset but the card (which holds the
        digest itself). fingerprint.pb is left out: it holds a random number.
    """
    files = [package / "saved_model.pb", *_files(package / "variables"), *_files(package / "assets")]
    total = hashlib.sha256()
    for file in files:
        if file != package / CARD_FILE:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            total.update(f"{file.relative_to(package).as_posix()}\0{content}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())
