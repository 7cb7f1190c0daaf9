"""A package as one file of C99, for controllers and whatever has a C compiler and no more."""

from __future__ import annotations

import ctypes
import math
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from gradwire._errors import UsageError
from gradwire._package import CARD, SERVING_DEFAULT, VALUE, Card, Signature, StagedPath, find_package
from gradwire_export._conversion import Draws, agreement
from gradwire_export._native.kernels import Kernels
from gradwire_export._native.library import compile_library, runner

STRICT: Final = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fPIC", "-shared")


def write_c(package: Path, to: Path, signatures: Sequence[str] | None, graph: str) -> tuple[Card, dict[str, str]]:
    """Write a package as a file of C99; return its card, and the signatures left out, with the reasons.

    The file is compiled and compared with the package before it gets its name.
    """
    del graph  # every signature is a function
    package = find_package(package)
    kernels = Kernels.read(package)
    chosen = list(kernels.routines) if signatures is None else [SERVING_DEFAULT, VALUE, *signatures]
    if unknown := [name for name in chosen if name not in kernels.routines]:
        raise UsageError(
            f"signature {unknown[0]!r} cannot be written as C, expected some of {', '.join(kernels.routines)}"
        )
    left_out = {
        name: "only signatures of values and derivatives are written as C"
        for name in kernels.card.signatures
        if name not in kernels.routines and name != CARD
    }
    kernels = replace(kernels, routines={name: kernels.routines[name] for name in dict.fromkeys(chosen)})
    prefix = re.sub(r"\W", "_", to.stem)
    prefix = prefix if prefix[:1].isalpha() else f"model_{prefix}"
    with StagedPath(to, is_directory=False) as staged, tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "model.c")
        source.write_text(_text(kernels, prefix), encoding="utf-8")
        compile_library(source, Path(directory, "model.so"), STRICT)
        library = ctypes.CDLL(str(Path(directory, "model.so")))
        runners = {
            name: runner(library[f"{prefix}_{name}"], each, by_row=True) for name, each in kernels.signatures.items()
        }
        distances = agreement(package, runners, kernels.signatures, Draws.of(kernels.card), "C")
        staged.path.write_bytes(source.read_bytes())
    about = {"ulp": distances, "left_out": left_out}
    return replace(kernels.card, checks={**kernels.card.checks, "c": about}), left_out


def _text(kernels: Kernels, prefix: str) -> str:
    kind = "float" if kernels.program.dtype == np.float32 else "double"
    lines = [
        f"/* {prefix}: one row a call, from inputs and to outputs that do not overlap.",
        " * No allocation, and no dependency but math.h. Written by gradwire; C99.",
        f" * Package: {kernels.card.digest or 'without a digest'}",
        " *",
    ]
    for name, signature in kernels.signatures.items():
        lines += _prototype(f"{prefix}_{name}", signature, kind)
    return "\n".join([*lines, " */", kernels.for_one_row(prefix)])


def _prototype(function: str, signature: Signature, kind: str) -> list[str]:
    arguments = [f"const {kind} {name}[{math.prod(spec.least_row_shape)}]" for name, spec in signature.inputs.items()]
    arguments += [f"{kind} {name}[{math.prod(spec.least_row_shape)}]" for name, spec in signature.outputs.items()]
    return [f" * void {function}({', '.join(arguments)});"]
