"""What every test relies on, and certificates."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

# A shell lets its background jobs ignore Ctrl-C, and their children with them: tests that send it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# `openssl req` makes no certificate of the past, `openssl ca` does.
PAST = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
CA_CONFIG = """
[ca]
default_ca = default
[default]
database = index.txt
rand_serial = yes
default_md = sha256
policy = policy
copy_extensions = copy
[policy]
commonName = supplied
"""


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates of it: for a server on localhost, another host, a client, and an expired one.

    The expired one is for localhost; one for localhost of another authority is the ``stranger``.
    """
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificates")
    folder = tmp_path_factory.mktemp("pki")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def make(name: str, host: str, *more: Any) -> None:
        subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{host}"]
        _openssl(folder, "req", *key, *subject, "-keyout", f"{name}.key", *more)

    def sign(name: str, host: str, *more: str) -> None:
        make(name, host, "-x509", "-days", "2", "-out", f"{name}.pem", *more)

    authority = ["-CA", "authority.pem", "-CAkey", "authority.key"]
    sign("authority", "authority.invalid")
    sign("stranger", "localhost")
    for name, host in (("server", "localhost"), ("elsewhere", "elsewhere.invalid"), ("client", "client")):
        sign(name, host, *authority)
    make("expired", "localhost", "-out", "expired.csr")
    (folder / "index.txt").touch()
    (folder / "ca.config").write_text(CA_CONFIG)
    signed = ["-cert", "authority.pem", "-keyfile", "authority.key", "-out", "expired.pem", "-outdir", ".", "-notext"]
    _openssl(folder, "ca", "-batch", "-config", "ca.config", "-in", "expired.csr", *signed, *PAST)
    return folder


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)
