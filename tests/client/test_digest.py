"""A package is what its card describes, or it is not loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import gradwire
from gradwire import Card
from gradwire._package.files import CARD_FILE, check_digest, digest, file_digests

DATA = "variables/variables.data-00000-of-00001"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The files of a package, with a right digest on its card."""
    for name in ("saved_model.pb", "fingerprint.pb", "variables/variables.index", DATA, "assets/words.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    write(tmp_path, digest=digest(tmp_path), files=file_digests(tmp_path))
    return tmp_path


def write(package: Path, **parts: object) -> None:
    """Writes its card."""
    card = Card(name="m", inputs=(), outputs=(), derivatives={}, signatures=())
    (package / CARD_FILE).write_text(replace(card, **parts).to_json())


def remove(path: Path) -> None:
    """Takes a file away."""
    path.unlink()


def append(path: Path) -> None:
    """Makes a file longer, or makes one."""
    path.write_bytes(path.read_bytes() + b"\0") if path.exists() else path.write_bytes(b"new")


def test_an_untouched_package_passes(package: Path):
    """Card and fingerprint are not part of it; it may lie anywhere."""
    check_digest(package)
    append(package / "fingerprint.pb")
    check_digest(package)
    check_digest(package.rename(package.with_name("elsewhere")))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (DATA, append, f"changed: {DATA}"),
        ("saved_model.pb", append, "changed: saved_model.pb"),
        ("assets/words.txt", remove, "missing: assets/words.txt"),
        ("assets/more.txt", append, "added: assets/more.txt"),
    ],
)
def test_what_was_changed_is_named(package: Path, name: str, change: Callable[[Path], None], message: str):
    """A file that is another, gone, or new: the error says which, from load as well."""
    change(package / name)
    with pytest.raises(gradwire.PackageError, match=message):
        check_digest(package)
    with pytest.raises(gradwire.PackageError, match="is not the package that its card describes"):
        gradwire.load(package)


def test_a_last_bit_counts(package: Path):
    """One bit of one weight makes another digest."""
    before = digest(package)
    weights = bytearray((package / DATA).read_bytes())
    weights[-1] ^= 1
    (package / DATA).write_bytes(weights)
    assert digest(package) != before


def test_a_card_without_the_list_of_files(package: Path):
    """Of an older card the digest alone can be checked."""
    write(package, digest=digest(package))
    check_digest(package)
    append(package / DATA)
    with pytest.raises(gradwire.PackageError, match="its digest differs"):
        check_digest(package)


def test_a_digest_that_was_changed_itself(package: Path):
    """Then no file differs from the list, and the error says so."""
    write(package, digest="sha256:0", files=file_digests(package))
    with pytest.raises(gradwire.PackageError, match="its card's digest was changed"):
        check_digest(package)
    write(package, digest="sha256:0", files=["a list"])
    with pytest.raises(gradwire.PackageError, match=r"files is .* expected an object"):
        check_digest(package)


def test_packages_without_a_digest_are_not_judged(package: Path):
    """A SavedModel of other make has no card; one that is being written has no digest yet."""
    write(package)
    check_digest(package)
    (package / CARD_FILE).unlink()
    check_digest(package)
