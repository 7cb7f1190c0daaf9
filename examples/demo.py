"""The whole path in one command: fit the logarithm, export, serve, query over gRPC, check, draw.

``make demo`` runs it. Every step is the command that a person would type; the last table comes over gRPC.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import gradwire

ROOT = Path("build/demo")
FIT, MODELS, PICTURE = ROOT / "log", ROOT / "models", ROOT / "served.png"
COMMAND = Path(sys.executable).with_name("gradwire")
START_SECONDS = 60.0
VALUE_LIMIT, DERIVATIVE_LIMIT = 5e-4, 2e-2  # largest errors allowed on [0.1, 1.9]

SHOWN = (0.1, 0.12, 0.15, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.9)  # ends, samples, and points between samples

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def run(*arguments: object) -> None:
    """Print a command and run it."""
    words = [str(argument) for argument in arguments]
    console.print(f"\n[bold cyan]$ gradwire {' '.join(words)}[/]", soft_wrap=True)
    subprocess.run([COMMAND, *words], check=True)


@contextmanager
def serving(models: Path) -> Iterator[str]:
    """Run `gradwire serve` on a free port; yield its address, and let it drain at the end."""
    words = ["serve", str(models), "--engine", "embedded", "--port", "0"]
    console.print(f"\n[bold cyan]$ gradwire {' '.join(words)} &[/]", soft_wrap=True)
    server = subprocess.Popen([COMMAND, *words], stdout=subprocess.PIPE, text=True)
    try:
        yield _address(server)
    finally:
        server.terminate()  # drains as Ctrl-C does, even in a shell whose background jobs ignore Ctrl-C
        server.wait(timeout=START_SECONDS)


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        console.print(line.rstrip(), markup=False, soft_wrap=True)
        if match := re.search(r"serving on (\S+:\d+)", line):
            return match[1]
    raise SystemExit("the server exited before it was ready")


def show(address: str) -> bool:
    """Query f and df/dx, print and plot them beside the exact ones; return whether the errors are within the limits."""
    with gradwire.connect(address, "log") as log:
        x, everywhere = np.array(SHOWN), np.linspace(0.1, 1.9, 1000)
        f, df_dx = log.value_and_grad(x)
        all_f, all_df = log.value_and_grad(everywhere)
    draw(everywhere, all_f, all_df)
    table = Table(title=f"log at {address}, over gRPC", title_justify="left")
    for column in ("x", "f", "log x", "|f - log x|", "df_dx", "1/x", "|df_dx - 1/x|"):
        table.add_column(column, justify="right")
    for x_, f_, d_ in zip(x, f, df_dx, strict=True):
        cells = f"{x_:.2f}", f"{f_:.6f}", f"{np.log(x_):.6f}", f"{abs(f_ - np.log(x_)):.1e}"
        table.add_row(*cells, f"{d_:.5f}", f"{1 / x_:.5f}", f"{abs(d_ - 1 / x_):.1e}")
    console.print(table)
    worst_f, worst_df = np.abs(all_f - np.log(everywhere)).max(), np.abs(all_df - 1 / everywhere).max()
    console.print(f"worst of 1,000 points of [0.1, 1.9]: |f - log x| {worst_f:.1e}, |df_dx - 1/x| {worst_df:.1e}")
    return bool(worst_f <= VALUE_LIMIT and worst_df <= DERIVATIVE_LIMIT)


def draw(x: np.ndarray, f: np.ndarray, df_dx: np.ndarray) -> None:
    """Plot what the server returned over the exact functions, with the errors below."""
    samples = np.load(FIT / "samples.npz")
    figure = Figure(figsize=(10, 5), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1))
    for column, name, label, formula, served, exact, samples_y, colour in (
        (0, "f", "f", "log x", f, np.log(x), samples["y:f"], "#0072b2"),
        (1, "df/dx", "df_dx", "1/x", df_dx, 1 / x, samples["dydx:f:x"], "#d55e00"),
    ):
        curve, error = panels[0, column], panels[1, column]
        curve.plot(x, exact, color="#c4c4c4", linewidth=7, solid_capstyle="round", label=f"exact: {formula}")
        curve.plot(x, served, color=colour, linewidth=2, label=f"served: {label}")
        dots = {"color": "black", "markersize": 4, "zorder": 3, "clip_on": False}
        curve.plot(samples["x:x"], samples_y, "o", label=f"{len(samples_y)} samples", **dots)
        curve.set_ylabel(name, fontsize=12)
        curve.legend(frameon=False, fontsize=11, loc="lower right" if column == 0 else "upper right")
        largest = np.abs(served - exact).max()
        error.semilogy(x, np.abs(served - exact), color=colour, linewidth=1)
        error.set_ylim(largest / 3e4, largest * 3)
        error.set_ylabel("abs. error", fontsize=12)
        error.set_xlabel("x", fontsize=12)
        error.set_title(f"largest error {largest:.1e}", fontsize=11, loc="left")
        error.grid(axis="y", color="#e4e4e4")
        for axes in (curve, error):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=10)
    figure.suptitle("One call returns the value and the derivative", fontsize=14, fontweight="bold")
    figure.savefig(PICTURE, dpi=150)


def main() -> int:
    """Run the whole path; return the exit code."""
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
    console.print(f"\n{time.perf_counter() - started:.0f} s in total. Next, serve it yourself:")
    console.print(f"  .venv/bin/gradwire serve {MODELS}", soft_wrap=True)
    if not good:
        console.print(f"the errors exceed {VALUE_LIMIT:g} and {DERIVATIVE_LIMIT:g}", style="bold red")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
