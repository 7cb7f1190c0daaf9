"""Converts a package into a file of another runtime, whose kind the suffix names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gradwire._errors import UsageError
from gradwire._extras import import_extra
from gradwire._package import C_SUFFIX, ONNX_SUFFIX, SERVING_DEFAULT, Card

# By suffix: the folder that writes such files, its function, and the extra that it needs.
_WRITERS: Final = {
    ONNX_SUFFIX: ("gradwire_export._onnx", "write_onnx", "onnx"),
    C_SUFFIX: ("gradwire_export._native", "write_c", "train"),
}


@dataclass(frozen=True)
class Converted:
    """A file that was written and compared with its package.

    Attributes:
        path: the file.
        card: the file's card; ``checks["onnx"]["ulp"]`` has the agreement by signature and tensor.
        left_out: the signatures of the package that the file does not have, with the reasons.
    """

    path: Path
    card: Card
    left_out: Mapping[str, str] = field(default_factory=dict)


def convert(
    package: str | os.PathLike[str],
    *,
    to: str | os.PathLike[str],
    signatures: Sequence[str] | None = None,
    graph: str = SERVING_DEFAULT,
) -> Converted:
    """Convert a package into a file that runs elsewhere, with its derivatives (docs/onnx.md).

    The file is compared with the package, as a fresh process serves that, before it gets its name: at random points of
    the domain, row by row, and of no rows. A signature with operations that cannot be written is left out, unless it is
    named here; `serving_default` and `value` never are.

    Args:
        package: ``models/log``, of which the highest version is taken, or a version such as ``models/log/3``.
        to: the file, replaced if it is there; its suffix says what it is: ``.onnx``, or ``.c`` for C99.
        signatures: those that the file has besides ``serving_default`` and ``value``; all of the package by default.
        graph: the signature that the file's graph computes. The others are functions in the file.

    Returns:
        The file, its card, and what was left out.

    Raises:
        UsageError: an unknown suffix or signature.
        MissingExtra: a library that writes such files is not installed.
        PackageError: the package is none, or is not what its card describes; or the file cannot be written.
        ConversionError: an operation of a signature that is needed cannot be written; it is named.
        CheckFailed: what was written does not agree with the package.
    """
    target = Path(to)
    if target.suffix not in _WRITERS:
        raise UsageError(f"{target} has the suffix {target.suffix!r}, expected one of {', '.join(_WRITERS)}")
    folder, function, extra = _WRITERS[target.suffix]
    card, left_out = getattr(import_extra(folder, extra), function)(Path(package), target, signatures, graph)
    return Converted(target, card, left_out)
