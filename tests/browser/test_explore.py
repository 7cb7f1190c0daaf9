"""The page of `gradwire explore` as somebody uses it: mouse, keyboard, phone; versions, and a server that goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from tests.client.explored import One, log_with_bars
from tests.client.models import log_both, log_fake
from tests.client.stand_in import StandIn

import gradwire
from gradwire._cli.explore import ServerSource
from gradwire._cli.explore import source as source_module
from gradwire._cli.explore.source import Choice
from gradwire._cli.io import Connection

Explore = Callable[..., str]
NewPage = Callable[..., Page]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
PHONE = {"viewport": {"width": 375, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


def log_times(factor: float) -> gradwire.FakeTransport:
    """A multiple of the logarithm."""
    return log_fake(both=lambda x: {name: factor * array for name, array in log_both(x).items()})


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A server of `log`, version 1, and of the models in closed form of the client's tests."""
    server = StandIn()
    running = server.start()
    yield server
    running.stop(None).wait()


def opened(page: Page, url: str) -> Page:
    """Open the page, and wait for its first numbers."""
    page.goto(url)
    page.locator("body[data-shown]").wait_for()
    return page


def value(page: Page) -> float:
    """The number of the headline."""
    return float(page.locator("#headline-value").inner_text())


def settled(page: Page, *point: float) -> None:
    """Wait until the numbers are those of a point."""
    page.wait_for_function(
        "point => JSON.stringify(JSON.parse(document.body.dataset.shown)[1]) === JSON.stringify(point)", arg=list(point)
    )


def painted(page: Page, canvas: str) -> int:
    """The number of colours in a canvas."""
    return page.evaluate(
        """selector => {
            const canvas = document.querySelector(selector);
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size;
        }""",
        canvas,
    )


def test_slide_and_type(server: StandIn, explore: Explore, new_page: NewPage):
    """Slider, number field and plot move each other, and the numbers are log x and 1/x of the point."""
    page = opened(new_page(), explore(ServerSource(server.target, "log", Connection())))
    assert value(page) == 0.0
    page.locator("#number-0").fill("0.5")
    settled(page, 0.5)
    assert value(page) == np.log(0.5)
    assert page.locator("#slider-0").input_value() == "0.5"
    expect(page.locator(".slope .value")).to_have_text("df_dx = 2")
    slider = page.locator("#slider-0").bounding_box()
    assert slider is not None
    height = slider["y"] + slider["height"] / 2
    page.mouse.move(slider["x"] + slider["width"] * 0.4, height)
    page.mouse.down()
    for part in np.linspace(0.4, 0.8, 9):
        page.mouse.move(slider["x"] + slider["width"] * part, height)
    page.mouse.up()
    x = float(page.locator("#number-0").input_value())
    assert 1.4 < x < 1.9
    settled(page, x)
    assert value(page) == np.log(x)
    page.locator("#number-0").fill("2.05")
    expect(page.locator("#remarks")).to_have_text("x is outside of the domain.")
    page.locator("#number-0").clear()  # no number: nothing is asked
    page.locator("#number-0").press_sequentially("-")
    expect(page.locator("#number-0")).to_have_attribute("aria-invalid", "true")
    page.locator("#number-0").blur()
    expect(page.locator("#number-0")).to_have_value("2.05")
    expect(page.locator("#banner")).to_be_hidden()
    assert painted(page, ".curve canvas") > 20
    plot = page.locator(".curve .u-over").bounding_box()
    assert plot is not None
    page.mouse.click(plot["x"] + plot["width"] / 2, plot["y"] + 20)
    expect(page.locator("#number-0")).not_to_have_value("2.05")
    x = float(page.locator("#number-0").input_value())
    assert x == pytest.approx((0.05 + 2.08) / 2, abs=0.02)


def flat_and_dark(page: Page) -> tuple[int, int]:
    """The number of colours that fill more than 300 pixels of a plot, and of pixels as dark as dots and tangent."""
    counted = page.evaluate(
        """() => {
            const canvas = document.querySelector(".curve canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const counts = new Map();
            let dark = 0;
            new Uint32Array(data.buffer).forEach((each) => counts.set(each, (counts.get(each) ?? 0) + 1));
            for (let i = 0; i < data.length; i += 4) dark += Math.max(data[i], data[i + 1], data[i + 2]) < 85 && data[i + 3] > 200;
            return [[...counts.values()].filter((count) => count > 300).length, dark];
        }"""
    )
    return counted[0], counted[1]


def test_error_bars_and_samples(explore: Explore, new_page: NewPage, tmp_path: Path):
    """The band and the dots are painted, the bar stands beside the number, and a point far from the samples is told."""
    (tmp_path / "samples.csv").write_text("x,f\n" + "\n".join(f"{x},{np.log(x)}" for x in np.linspace(0.2, 1.8, 20)))
    drawn: list[tuple[int, int]] = []
    for model, samples in (
        (gradwire.Model(log_fake()), None),
        (log_with_bars(), None),
        (log_with_bars(), tmp_path / "samples.csv"),
    ):
        page = opened(new_page(), explore(One(model), samples))
        page.locator("#number-0").fill("1.4")
        settled(page, 1.4)
        drawn.append(flat_and_dark(page))
    plain, band, dots = drawn
    assert band[0] > plain[0]
    assert dots[1] > band[1] + 100
    expect(page.locator("#headline-bar")).to_have_text("± 0.78")
    expect(page.locator("#remarks")).to_have_text("")
    expect(page.locator("#legend")).to_contain_text("20 samples of samples.csv")
    page.locator("#number-0").fill("1.6")
    expect(page.locator("#remarks")).to_contain_text("Far from the samples")


def test_versions_side_by_side(server: StandIn, explore: Explore, new_page: NewPage, faults: list[str]):
    """Another version, one beside it, their difference; a label is typed; an unknown one is said, and can be left."""
    page = opened(new_page(), explore(ServerSource(server.target, "versions", Connection())))
    page.locator("#number-0").fill("1.5")
    settled(page, 1.5)
    log = float(np.log(1.5))
    assert value(page) == 2 * log
    expect(page.locator("#versions li")).to_have_text(["version 3 end", "version 2", "version 1"])
    page.select_option("#beside", "1")
    expect(page.locator("#headline-beside")).to_contain_text(f"version 1: {log}, difference +0.405")
    assert "difference" in page.locator("#numbers").inner_text()
    page.locator("[name=face][value=difference]").check()
    page.select_option("#beside", "")
    page.select_option("#at", "1")
    expect(page.locator("#headline-value")).to_have_text(str(log))
    expect(page.locator("#query")).to_contain_text("--version=1")
    page.select_option("#at", "other label")
    page.keyboard.type("canary")
    page.keyboard.press("Enter")
    expect(page.locator("#headline-label")).to_have_text("f, version 2")
    expect(page.locator("#python")).to_contain_text("label='canary'")
    page.select_option("#at", "other label")
    page.keyboard.type("nope")
    page.keyboard.press("Enter")
    expect(page.locator("#banner")).to_contain_text("nope")
    page.select_option("#at", "newest")
    expect(page.locator("#banner")).to_be_hidden()
    page.close()
    assert all("404" in fault for fault in faults), faults  # what a browser logs of a label that there is not
    faults.clear()


def near_color(page: Page, color: list[int]) -> int:
    """The number of pixels of a plot that are nearly of a colour."""
    return page.evaluate(
        """color => {
            const canvas = document.querySelector(".curve canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) {
                count += data[i + 3] > 150 && color.every((channel, k) => Math.abs(data[i + k] - channel) < 14);
            }
            return count;
        }""",
        color,
    )


GHOST = [138, 148, 160]


def test_a_hot_swap_is_shown(server: StandIn, explore: Explore, new_page: NewPage):
    """A new version takes the place of the old one by itself, at the point where the page is, and says so."""
    page = opened(new_page(), explore(ServerSource(server.target, "log", Connection())))
    page.locator("#number-0").fill("1.5")
    settled(page, 1.5)
    server.models["log"][2] = log_times(3.0)
    expect(page.locator("#headline-label")).to_have_text("f, version 2")
    expect(page.locator("#headline-value")).to_have_text(str(3 * float(np.log(1.5))))
    expect(page.locator("#events")).to_contain_text("version 2 in the place of version 1: f changed by 0.8109")
    expect(page.locator("#at option").first).to_have_text("newest (2)")
    assert near_color(page, GHOST) > 50  # the old curve stays, dashed, until something is moved
    del server.models["log"][1]
    page.locator("#number-0").fill("0.5")
    settled(page, 0.5)
    assert value(page) == 3 * np.log(0.5)
    assert near_color(page, GHOST) < 10


def test_the_server_goes_and_comes_back(
    explore: Explore, new_page: NewPage, faults: list[str], monkeypatch: pytest.MonkeyPatch
):
    """It is said; what is moved meanwhile is shown as soon as the server responds again, with what it serves then."""
    monkeypatch.setattr(source_module, "POLL_TIMEOUT", 0.5)
    server = StandIn()
    running = server.start()
    page = opened(new_page(), explore(ServerSource(server.target, "log", Connection(timeout=1.0))))
    running.stop(None).wait()
    expect(page.locator("#banner")).to_be_visible()
    expect(page.locator("#banner")).to_contain_text("The page goes on when it is back.")
    expect(page.locator("#banner")).to_contain_text(server.target)
    page.locator("#number-0").fill("1.5")
    server.models["log"] = {1: log_times(2.0)}
    running = server.start(server.target)
    try:
        expect(page.locator("#banner")).to_be_hidden()
        settled(page, 1.5)
        expect(page.locator("#headline-value")).to_have_text(str(2 * float(np.log(1.5))))
        expect(page.locator("#events")).to_contain_text("the server responds again")
        running.stop(None).wait()
        expect(page.locator("#banner")).to_be_visible()
        server.models["log"] = {1: server.models["multi"][1]}  # the same version, and other inputs
        running = server.start(server.target)
        expect(page.locator(".input")).to_have_count(4)
        settled(page, 0, 1, 2, 1.25)
    finally:
        page.close()
        running.stop(None).wait()
    assert all("503" in fault for fault in faults), faults  # what a browser logs of the views that failed
    faults.clear()


class Stranger(source_module.Source):
    """A source whose card means harm."""

    def __init__(self) -> None:
        super().__init__(HOSTILE, Choice())

    def versions(self) -> list[gradwire.VersionStatus]:
        return [gradwire.VersionStatus(1, "AVAILABLE", HOSTILE)]

    def labelled(self, label: str) -> int:
        raise gradwire.UsageError(label)

    def words(self, choice: Choice) -> tuple[list[str], str]:
        return [HOSTILE], f"gradwire.load({HOSTILE!r})"

    def _open(self, version: int) -> gradwire.Model:
        inputs = ("__proto__", "constructor")
        tensors = {name: gradwire.CardTensor(name, "float64", (1,), unit=HOSTILE) for name in (*inputs, "toString")}
        card = gradwire.Card(
            name=HOSTILE,
            inputs=tuple(tensors[name] for name in inputs),
            outputs=(tensors["toString"],),
            derivatives={"toString": {"__proto__": "a", "constructor": "b"}},
            signatures=("serving_default", "card"),
            trained={HOSTILE: HOSTILE},
            uncertainty={"reason": HOSTILE},
            errors={"against": HOSTILE, "toString": {HOSTILE: HOSTILE}},
        )

        def function(**x: Any) -> dict[str, Any]:
            one = np.ones_like(x["constructor"])
            return {"toString": x["__proto__"] + 2 * x["constructor"], "a": one, "b": 2 * one}

        return gradwire.Model(gradwire.FakeTransport({"serving_default": function}, card=card))


def test_a_card_that_means_harm(explore: Explore, new_page: NewPage, faults: list[str]):
    """Its markup is text, its names are no properties of the page, and the page works."""
    page = opened(new_page(), explore(Stranger()))
    assert page.title() == f"{HOSTILE} · gradwire explore"
    assert page.locator("h1").inner_text() == HOSTILE
    page.locator("#card summary").click()
    expect(page.locator("#card-tables")).to_contain_text(HOSTILE)
    expect(page.locator("#legend")).to_contain_text(HOSTILE)
    assert page.locator("img, main script, header script").count() == 0
    page.locator("#number-1").fill("0.25")
    settled(page, 0, 0.25)
    assert value(page) == 0.5
    assert faults == []
    with pytest.raises(Exception, match="TrustedHTML"):  # the policy itself, should a later change forget
        page.evaluate("document.body.innerHTML = '<img src=x>'")
    faults.clear()


def test_the_policy_holds(server: StandIn, explore: Explore, new_page: NewPage, faults: list[str]):
    """The browser refuses scripts, pictures and calls from elsewhere: it is the policy that is tested."""
    page = opened(new_page(), explore(ServerSource(server.target, "log", Connection())))
    assert faults == []
    refused = page.evaluate(
        """async () => {
            const seen = [];
            document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
            const image = new Image();
            image.src = "http://example.invalid/x.png";
            await fetch("http://example.invalid/").catch(() => null);
            document.body.append(Object.assign(document.createElement("style"), { textContent: "b { color: red }" }));
            await new Promise((resolve) => setTimeout(resolve, 200));
            return seen.sort();
        }"""
    )
    assert refused == ["connect-src", "img-src", "style-src-elem"]
    faults.clear()


def test_the_keyboard_alone(server: StandIn, explore: Explore, new_page: NewPage):
    """From the first Tab to a copied command without a mouse; letters in a field are letters."""
    page = new_page()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, explore(ServerSource(server.target, "multi", Connection())))
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("2")
    expect(page.locator("#slider-1")).to_be_focused()
    page.keyboard.press("End")
    settled(page, 0, 2.2, 2, 1.25)
    page.keyboard.press("ArrowLeft")
    settled(page, 0, 2.19, 2, 1.25)
    assert value(page) == pytest.approx((2.19**2 + 4) * 1.25, rel=1e-14)
    page.keyboard.press("o")
    expect(page.locator("#output")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#headline-label")).to_have_text("g, version 1")
    page.locator("#output").blur()
    page.keyboard.press("d")
    expect(page.locator(".curve h3").first).to_contain_text("g_by_space[0] along x[0]")
    page.keyboard.press("m")
    expect(page.locator("#maps canvas")).to_have_count(0)
    page.keyboard.press("m")
    expect(page.locator("#maps canvas")).to_have_count(1)
    page.keyboard.press("q")
    expect(page.locator("#events")).to_contain_text("copied the command")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#query").inner_text()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    settled(page, 0, 1, 2, 1.25)
    page.keyboard.press("1")
    page.keyboard.press("End")
    settled(page, 1.2, 1, 2, 1.25)
    page.keyboard.press("v")
    page.keyboard.press("r")  # in a list of versions it is no command
    expect(page.locator("#at")).to_be_focused()
    expect(page.locator("#number-0")).to_have_value("1.2")


def test_a_map_of_two_inputs(server: StandIn, explore: Explore, new_page: NewPage):
    """It is painted, a click on it moves both inputs, and another pair is another map."""
    page = opened(new_page(), explore(ServerSource(server.target, "multi", Connection())))
    canvas = page.locator("#maps canvas")
    canvas.scroll_into_view_if_needed()
    assert painted(page, "#maps canvas") > 100
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 58 + 0.75 * (box["width"] - 68), box["y"] + 6 + 0.25 * (box["height"] - 64))
    expect(page.locator("#number-0")).not_to_have_value("0")
    x = [float(page.locator(f"#number-{i}").input_value()) for i in (0, 1)]
    assert x == [pytest.approx(-1.2 + 0.75 * 2.4, abs=0.03), pytest.approx(-0.2 + 0.75 * 2.4, abs=0.03)]
    settled(page, *x, 2, 1.25)
    page.select_option("#map-x", "1")  # they change places
    assert [page.locator(f"#map-{side}").input_value() for side in "xy"] == ["1", "0"]
    expect(canvas).to_have_attribute("aria-label", "f over x[1] and x[0]")


def test_a_phone(server: StandIn, explore: Explore, new_page: NewPage):
    """One column that is no wider than the screen; the number stays in sight, and a tap on a plot moves the point."""
    page = opened(new_page(**PHONE), explore(ServerSource(server.target, "multi", Connection())))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    plot = page.locator(".curve .u-over").first
    plot.scroll_into_view_if_needed()
    plot.tap(position={"x": 40, "y": 60})
    expect(page.locator("#number-0")).not_to_have_value("0")
    page.locator("#slider-3").scroll_into_view_if_needed()
    box = page.locator("#headline").bounding_box()
    assert box is not None
    assert box["y"] >= -1
    assert box["y"] + box["height"] <= 740
    sizes = page.locator("select, button, input[type=number]").evaluate_all(
        "all => all.filter((each) => each.offsetParent).map((each) => each.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 30  # for a thumb


def test_dark_and_light(server: StandIn, explore: Explore, new_page: NewPage):
    """The scheme of the system, at once, the plots as well; text stands out from its ground in both."""
    page = opened(new_page(color_scheme="dark"), explore(ServerSource(server.target, "log", Connection())))
    contrasts = {}
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        contrasts[scheme] = page.evaluate(
            """() => {
                const parts = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((each) => each / 255);
                const line = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                const light = (text) => parts(text).reduce((sum, c, i) => sum + [0.2126, 0.7152, 0.0722][i] * line(c), 0);
                const ground = light(getComputedStyle(document.querySelector("section")).backgroundColor);
                return [...document.querySelectorAll("h2, .soft, #headline-value, td, .slope")].map((each) => {
                    const [a, b] = [ground, light(getComputedStyle(each).color)].sort((x, y) => y - x);
                    return (a + 0.05) / (b + 0.05);
                });
            }"""
        )
        page.wait_for_function(
            """curve => {
                const canvas = document.querySelector(".curve canvas");
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                let count = 0;
                for (let i = 0; i < data.length; i += 4) count += curve.every((channel, k) => data[i + k] === channel);
                return count > 100;
            }""",
            arg=[111, 177, 247, 255] if scheme == "dark" else [36, 98, 171, 255],
        )
    assert all(min(each) >= 4.5 for each in contrasts.values()), contrasts  # WCAG 2.2, 1.4.3


def test_the_card_and_the_proof(server: StandIn, explore: Explore, new_page: NewPage):
    """The card's tables; a proof made now, which passes here and fails for a derivative that is wrong."""
    server.models["wrong"] = {1: log_fake(both=lambda x: log_both(x) | {"df_dx": 2 / x})}
    for name, expected in (("log", "Version 1: every check passed."), ("wrong", "Version 1: a check FAILED.")):
        page = opened(new_page(), explore(ServerSource(server.target, name, Connection())))
        page.locator("#card summary").click()
        expect(page.locator("#card-tables")).to_contain_text("0.1 to 1.9")
        page.locator("#verify").click()
        expect(page.locator("#proof > p")).to_have_text(expected)
        page.close()


def test_the_page_outlives_its_own_server(server: StandIn, new_page: NewPage, faults: list[str]):
    """When `gradwire explore` itself ends the page says so, and goes on when it is started again on its port."""
    from gradwire._cli.explore import Application, Explorer, PageServer

    def start(port: int) -> tuple[PageServer, Explorer]:
        explorer = Explorer.of(ServerSource(server.target, "log", Connection()), "log")
        running = PageServer(Application(explorer, "127.0.0.1"), "127.0.0.1", port)
        running.start()
        return running, explorer

    running, explorer = start(0)
    page = opened(new_page(), running.url)
    running.stop()
    expect(page.locator("#banner")).to_contain_text("gradwire explore has ended")
    explorer.close()
    running, explorer = start(int(running.url.rpartition(":")[2]))
    expect(page.locator("#banner")).to_be_hidden()
    page.locator("#number-0").fill("1.5")
    settled(page, 1.5)
    page.close()
    running.stop()
    explorer.close()
    assert all("ERR_" in fault for fault in faults), json.dumps(faults)
    faults.clear()
