"""The whole path in one command: fit the logarithm, export, serve, query over gRPC, check, draw.

``make demo`` runs it. Every step is the command that a person would type; the last table is asked over gRPC.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

import gradwire

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path("build/demo")
FIT, MODELS = ROOT / "log", ROOT / "models"
COMMAND = Path(sys.executable).with_name("gradwire")
START_SECONDS = 60.0
VALUE_LIMIT, DERIVATIVE_LIMIT = 5e-4, 2e-2  # what the demo promises on all of [0.1, 1.9]

console = Console(highlight=False)


def run(*arguments: object) -> None:
    """Shows a command and runs it."""
    words = [str(argument) for argument in arguments]
    console.print(f"\n[bold cyan]$ gradwire {' '.join(words)}[/]", soft_wrap=True)
    subprocess.run([COMMAND, *words], check=True)


@contextmanager
def serving(models: Path) -> Iterator[str]:
    """Runs `gradwire serve` on a free port; yields its address and stops it with Ctrl-C's signal."""
    words = ["serve", str(models), "--engine", "embedded", "--port", "0"]
    console.print(f"\n[bold cyan]$ gradwire {' '.join(words)} &[/]", soft_wrap=True)
    server = subprocess.Popen([COMMAND, *words], stdout=subprocess.PIPE, text=True)
    try:
        yield _address(server)
    finally:
        server.send_signal(2)
        server.wait(timeout=START_SECONDS)


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        console.print(line.rstrip(), markup=False, soft_wrap=True)
        if found := re.search(r"serving on (\S+:\d+)", line):
            return found[1]
    raise SystemExit("the server ended before it served")


def show(address: str) -> bool:
    """Asks the server for f and df/dx, prints them beside the truth, and says whether the promise holds."""
    with gradwire.connect(address, "log") as log:
        x = np.linspace(0.1, 1.9, 10)
        f, df_dx = log.value_and_grad(x)
        everywhere = np.linspace(0.1, 1.9, 1000)
        worst_f, worst_df = (
            float(np.abs(found - truth).max())
            for found, truth in zip(
                log.value_and_grad(everywhere), (np.log(everywhere), 1 / everywhere), strict=True
            )
        )
    table = Table(title=f"log at {address}, over gRPC", title_justify="left")
    for column in ("x", "f", "log x", "|f - log x|", "df_dx", "1/x", "|df_dx - 1/x|"):
        table.add_column(column, justify="right")
    for x_, f_, d_ in zip(x, f, df_dx, strict=True):
        cells = f"{x_:.1f}", f"{f_:.6f}", f"{np.log(x_):.6f}", f"{abs(f_ - np.log(x_)):.1e}"
        table.add_row(*cells, f"{d_:.5f}", f"{1 / x_:.5f}", f"{abs(d_ - 1 / x_):.1e}")
    console.print(table)
    console.print(
        f"worst of 1,000 points of [0.1, 1.9]: |f - log x| {worst_f:.1e}, |df_dx - 1/x| {worst_df:.1e}"
    )
    return worst_f <= VALUE_LIMIT and worst_df <= DERIVATIVE_LIMIT


def main() -> int:
    """Runs the path; returns the exit code."""
    started = time.perf_counter()
    run("train", "log", "--loss", "sobolev", "--samples", 19, "--seed", 0, "--to", FIT)
    run("export", FIT, "--to", MODELS / "log")
    with serving(MODELS) as address:
        run("verify", address, "log")
        run("query", address, "log", "--input", "x=0.5; 1.0; 1.5")
        good = show(address)
    console.print("\nwritten:")
    for path in sorted(ROOT.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            console.print(f"  {path}", soft_wrap=True)
    console.print(f"\n{time.perf_counter() - started:.0f} s in all. Next, serve it yourself:")
    console.print(f"  .venv/bin/gradwire serve {MODELS}", soft_wrap=True)
    if not good:
        console.print(f"errors are above {VALUE_LIMIT:g} and {DERIVATIVE_LIMIT:g}", style="bold red")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
