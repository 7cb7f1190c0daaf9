"""A real Chromium, and pages of `gradwire explore` beside a stand-in server of closed forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.browser.chromium import VARIABLE, find

from gradwire._cli.explore import Application, Explorer, PageServer, Source

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SECONDS = 20  # for whatever the page is waited for: two cores may be busy
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"]  # a container has neither user namespaces nor much shared memory

# Other environments have no Playwright, and collect nothing here; pytest then fails for want of tests.
if find_spec("playwright"):
    from playwright.sync_api import expect

    expect.set_options(timeout=1000 * SECONDS)
else:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser; there has to be one."""
    from playwright.sync_api import sync_playwright

    path = find()
    assert path, f"there is no Chromium: `make test-browser` installs one, {VARIABLE} names one"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """What pages complain of, refusals of the policy among it; a test that expects some empties it."""
    found: list[str] = []
    yield found
    assert found == []


@pytest.fixture
def new_page(browser: Browser, faults: list[str]) -> Iterator[Callable[..., Page]]:
    """Makes pages that let nothing out to another machine: ``new_page(viewport=…, color_scheme=…)``."""
    contexts = []

    def make(**options: object) -> Page:
        settings: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}} | options
        context = browser.new_context(**settings)
        contexts.append(context)
        context.set_default_timeout(1000 * SECONDS)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if "//127.0.0.1:" in request.url else faults.append(request.url))
        return page

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def explore() -> Iterator[Callable[..., str]]:
    """Serves the page of a source: ``explore(source)`` gives its address."""
    running: list[tuple[PageServer, Explorer]] = []

    def serve(source: Source, samples: Path | None = None) -> str:
        explorer = Explorer.of(source, source.name, samples)
        server = PageServer(Application(explorer, "127.0.0.1"), "127.0.0.1", 0)
        server.start()
        running.append((server, explorer))
        return server.url

    yield serve
    for server, explorer in running:
        server.stop()
        explorer.close()
