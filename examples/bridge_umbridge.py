"""A served function for UM-Bridge clients, here the one in Python.

python examples/bridge_umbridge.py [ADDRESS]      (after examples/bridge_server.py)
"""

from __future__ import annotations

import subprocess
import sys
import time

import requests
import umbridge


def main(address: str = "localhost:8500") -> None:
    """Start `gradwire umbridge` in another process, and query it."""
    port = 4243
    command = [sys.executable, "-c", "from gradwire._cli import main; main()", "umbridge", address, "curved"]
    with subprocess.Popen([*command, "--port", str(port)]) as process:
        try:
            model = wait_for(f"http://localhost:{port}")
            point = [[0.3, -0.7, 0.5], [1.3]]
            print("f:", model(point))
            print("df/dx:", model.gradient(0, 0, point, [1.0]))
            print("d²f/dx dt:", model.apply_hessian(0, 0, 1, point, [1.0], [1.0]))
        finally:
            process.terminate()


def wait_for(url: str, seconds: float = 60) -> umbridge.HTTPModel:
    """Connect as soon as a server listens."""
    end = time.monotonic() + seconds
    while True:
        try:
            return umbridge.HTTPModel(url, "curved")
        except requests.ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
