"""Finds a Chromium, or installs one: ``python tests/browser/chromium.py`` prints its path, or why there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VARIABLE = "CHROMIUM"  # names one that is found nowhere else
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
APT = ("apt-get", "install", "--yes", "--no-install-recommends", "chromium")


def find() -> str | None:
    """Return the path of a Chromium of this machine: the variable's, one on the PATH, or Playwright's own."""
    if named := os.environ.get(VARIABLE):
        return named
    return next(filter(None, map(shutil.which, NAMES)), None) or _own()


def _own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def install() -> None:
    """Install one: Debian's package, as root; else the one that Playwright downloads."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    ways: list[tuple[str, ...]] = []
    if shutil.which("apt-get") and os.geteuid() == 0:
        ways += [("apt-get", "update"), APT]
    ways.append((sys.executable, "-m", "playwright", "install", "chromium"))
    for way in ways:
        if find() is None:
            subprocess.run(way, env=environment, check=False, stdout=sys.stderr)


def main() -> None:
    """Print the path; exit 1 where there is none."""
    if find() is None:
        install()
    path = find()
    if path is None or not (shutil.which(path) or Path(path).exists()):
        sys.exit(
            f"no Chromium: none is on the PATH ({', '.join(NAMES)}), neither apt-get nor `playwright install chromium` "
            f"brought one; install one, or name it: {VARIABLE}=/path/to/chromium"
        )
    print(path)


if __name__ == "__main__":
    main()
