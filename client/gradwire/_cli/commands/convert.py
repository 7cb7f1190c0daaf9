"""``gradwire convert``: a package as a file that runs where Serving does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gradwire._cli.console import note, say, table
from gradwire._cli.io import read_names
from gradwire._cli.lazy_imports import import_heavy
from gradwire._errors import ConversionError
from gradwire._package import SERVING_DEFAULT

NAME: Final = "convert"


def command(
    package: Annotated[Path, typer.Argument(help="Directory of a package, such as models/log or models/log/1.")],
    to: Annotated[
        Path, typer.Option("--to", help="File to write; its suffix says what it becomes: .onnx, or .c for C99.")
    ],
    signatures: Annotated[
        str | None,
        typer.Option(
            help="Signatures that the file has besides serving_default and value, separated by commas. Default: all of "
            "the package."
        ),
    ] = None,
    graph: Annotated[
        str, typer.Option(help="Signature that the file's graph computes; the others are functions in the file.")
    ] = SERVING_DEFAULT,
) -> None:
    """Convert a package into a file with its derivatives, and compare it with the package.

    An ONNX file runs in onnxruntime, in Python, C++, C#, Java or a browser: its graph returns f and df_dx. The other
    commands take it in the place of a package's directory. A C file has a function for each signature, of one row, for
    dense networks.

    Example: [bold]gradwire convert models/log --to log.onnx[/bold]   then   [bold]gradwire verify log.onnx[/bold]
    """
    converted = import_heavy("gradwire_export").convert(
        package, to=to, signatures=read_names("signatures", signatures), graph=graph
    )
    _show_agreement(converted.card.checks, converted.path.suffix.removeprefix("."), graph)
    say(str(converted.path))
    if converted.left_out:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in converted.left_out.items())
        raise ConversionError(
            f"the file was written without {', '.join(converted.left_out)}, which cannot be converted ({reasons}): leave "
            "them out with --signatures"
        )


def _show_agreement(checks: Any, form: str, graph: str) -> None:
    rows = [
        (
            name,
            "graph" if name == graph and form == "onnx" else "function",
            ", ".join(tensors),
            f"{max(tensors.values()):g}",
        )
        for name, tensors in checks[form]["ulp"].items()
    ]
    note("beside the package, run by a Session in a fresh process:")
    table("", ("signature", "is the file's", "returns", "most ulp apart"), rows)
