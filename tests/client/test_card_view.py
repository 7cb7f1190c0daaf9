"""A card for people, in the terminal and as an HTML page: complete, and harmless whatever is on the card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import gradwire
from gradwire import CardTensor, Domain, Model
from gradwire._cli.commands import card as command
from gradwire._cli.io import CardView, card_page, read_checks, verdict
from gradwire._cli.main import app

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e\x1b[2J{{ 7 * 7 }}{% raw %}"
VOID = {"meta", "br", "img", "link"}
KNOWN = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "code", "br"),
    *("div", "table", "tr", "th", "td", "details", "summary", "span"),
}


class Page(HTMLParser):
    """Every element and attribute of a page, and its text; fails where elements do not close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def proven(log: Model) -> gradwire.Card:
    """The logarithm's card with all that export writes."""
    return replace(
        log.card,
        checks=gradwire.verify(log).to_dict(),
        errors={"against": "log x", "f": {"max": 1.5e-5}, "df_dx": {"max": 1e-3, "rmse": 1e-4}},
        trained={"problem": "log", "optimizer": {"name": "lm", "steps": 100}},
        versions={"tensorflow": "2.21"},
        reference={"method": "by hand", "points": 32, "differences": {"df_dx": {"relative": 3e-14}}},
        digest="sha256:abc",
    )


def test_a_page_says_what_the_card_says(log: Model):
    """Inputs with domain, outputs with derivatives, errors, the checks with their findings, where it comes from."""
    page = Page(card_page(proven(log)))
    for words in (
        "x float64 1 - 0.1 to 1.9",
        "df_dx wrt x",
        "df_dx 0.001 0.0001",
        "against log x",
        "1 derivatives vs finite differences",
        "6 kinks (reported only)",
        "slope 2.00, 2 is right",
        "32 points; method: by hand; within 3e-14 of finite differences",
        "optimizer.name lm",
        "sha256:abc",
    ):
        assert words in page.text, words
    assert page.elements <= KNOWN
    verdicts = [verdict(check) for check in read_checks(proven(log).checks)]
    assert verdicts == ["ok", "ok", "skipped", "ok", "ok", "ok", "ok", "skipped"]


def _labelled(log: Model, labels: str | None) -> str:
    entry = {"max": None, "rmse": None, "labels": labels}
    errors = {"against": "10 held-out rows", "f": {"max": 0.5, "rmse": 0.25, "labels": "fitted"}}
    card = replace(proven(log), errors=errors | ({"df_dx": entry} if labels else {}), signatures=("value", "hvp"))
    return Page(card_page(card)).text


def test_a_derivative_that_was_never_labelled_is_marked(log: Model):
    """On a fit of values alone the card says so, whatever the checks of consistency say; older cards lack the word."""
    never = _labelled(log, "never labelled")
    assert "df_dx - - never labelled" in never
    assert "second derivatives - - never labelled" in never
    assert "fitted to values alone" in never
    assert "errors of the trained function against 10 held-out rows" in never
    assert "fitted to values alone" in _labelled(log, "not fitted")
    assert "fitted to values alone" not in _labelled(log, "fitted")
    assert "fitted to values alone" not in _labelled(log, "along directions")
    assert "df_dx - - no error known" in _labelled(log, None)
    old = Page(card_page(proven(log))).text
    assert "fitted to values alone" not in old
    assert "df_dx 0.001 0.0001 -" in old


def test_species_are_told(log: Model):
    """Of an input that has them, in their order."""
    card = replace(log.card, inputs=(replace(log.card.inputs[0], species=("O", "H", "H")),))
    assert "Species x O H H" in Page(card_page(card)).text
    assert "Species" not in Page(card_page(log.card)).text


def test_a_page_needs_nothing_else(log: Model):
    """No script, no link, no outside address; both colour schemes."""
    page = card_page(proven(log))
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert Page(page).attributes <= {"lang", "charset", "name", "content", "http-equiv", "class", "style"}
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page


def hostile(value: Any) -> Any:
    """The same data with every text and key hostile."""
    if isinstance(value, dict):
        return {f"{key}{HOSTILE}": hostile(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [hostile(entry) for entry in value]
    return HOSTILE if isinstance(value, str) else value


def test_a_hostile_card_is_only_text(log: Model):
    """Markup, templates, control characters and turns of direction arrive as what they are: characters."""
    card = proven(log)
    finding = {"subject": HOSTILE, "note": HOSTILE, "worst": 0.5, "passed": HOSTILE, "tensor": HOSTILE}
    card = replace(
        card,
        name=HOSTILE,
        inputs=(CardTensor(HOSTILE, HOSTILE, (1,), HOSTILE, Domain(HOSTILE, [HOSTILE])),),
        outputs=(CardTensor("f", HOSTILE, (1,), HOSTILE),),
        derivatives={"f": {HOSTILE: HOSTILE}},
        signatures=(HOSTILE,),
        errors=hostile(card.errors) | {"against": HOSTILE},
        trained=hostile(card.trained),
        versions=hostile(card.versions),
        checks={"taylor": {"passed": HOSTILE, "skipped": HOSTILE, "findings": [finding]}},
        reference={"method": HOSTILE, "points": HOSTILE, "differences": {HOSTILE: HOSTILE}},
        created=HOSTILE,
        digest=HOSTILE,
    )
    page = card_page(card)
    parsed = Page(page)
    assert parsed.elements <= KNOWN
    assert parsed.attributes <= {"lang", "charset", "name", "content", "http-equiv", "class", "style"}
    assert "<script" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "{{ 7 * 7 }}" in parsed.text
    assert parsed.text.count("<script>alert(1)</script>") > 10


@pytest.mark.parametrize(
    "checks",
    [
        {"taylor": "passed"},
        {"taylor": {"findings": "none"}},
        {"taylor": {"findings": [1, None, []], "passed": True}},
        {"taylor": {"findings": [{"worst": True}, {"worst": "1"}, {}]}},
        {"taylor": {"findings": [{"worst": None, "passed": False}], "passed": False}},
        [],
    ],
)
def test_checks_of_another_form_do_no_harm(log: Model, checks: Any):
    """What is not of the form of a check is left out, or counts as wrong."""
    card = replace(log.card, checks=checks)
    Page(card_page(card))
    assert all(verdict(check) in ("ok", "WRONG", "skipped") for check in read_checks(card.checks))


def test_a_wrong_check_stands_out(log: Model):
    """A failure is marked as one; its infinite distance is null in JSON."""
    checks = {"taylor": {"passed": False, "findings": [{"subject": "df_dx", "worst": None, "passed": False}]}}
    page = card_page(replace(log.card, checks=checks))
    assert 'class="WRONG"' in page
    assert "width: 100%" in page


def test_the_command_writes_it(stand_in: Any, tmp_path: Path, make_stand_in: Callable[..., Any]):
    """A file that cannot be written is refused."""
    words = ["card", stand_in.target, "log", "--html"]
    app([*words, str(tmp_path / "card.html")], standalone_mode=False)
    assert "<h1>log</h1>" in (tmp_path / "card.html").read_text()
    with pytest.raises(gradwire.UsageError, match="choose another file"):
        app([*words, str(tmp_path / "no/card.html")], standalone_mode=False)


def test_the_terminal_shows_what_the_page_shows(log: Model, capsys: pytest.CaptureFixture[str]):
    """The same tables, in the same words."""
    command.show_card(CardView.of(proven(log)))
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "x float64 1 - 0.1 to 1.9",
        "df_dx wrt x",
        "against log x",
        "1 derivatives vs finite differences",
        "32 points; method: by hand; within 3e-14 of finite differences",
        "optimizer.name lm",
        "sha256:abc",
    ):
        assert words in shown, words
