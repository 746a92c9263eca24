"""The page in a real browser: Debian's or any Chromium, driven by Playwright."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import Site, make_clip

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; it is the extra `browser`"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chosen = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox", "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )  # fmt: skip
        yield chosen
        chosen.close()


@pytest.fixture(params=[(360, 740, "dark"), (1280, 900, "light")], ids=["phone", "desktop"])
def page(browser: Any, site: Site, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, of which nothing may go wrong and which may ask nobody else."""
    width, height, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
    )
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    # A browser counts every answer of 404 as an error of the page's.
    page.on(
        "console",
        lambda said: (
            wrong.append(said.text) if said.type == "error" and "404" not in said.text else None
        ),
    )
    page.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith((site.address, "blob:", "data:"))
            else wrong.append(asked.url)
        ),
    )
    page.goto(site.address)
    page.wait_for_selector("#examples li")
    yield page
    assert wrong == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    context.close()


def drop(page: Any, path: Path) -> None:
    """Let a file fall on the page, as a hand would."""
    transfer = page.evaluate_handle(
        """([name, content]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], name));
            return transfer;
        }""",
        [path.name, base64.b64encode(path.read_bytes()).decode()],
    )
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})


def until(page: Any, condition: str) -> None:
    """Wait for a condition in JavaScript.

    Playwright's own way evaluates a text again and again, which the page's security policy forbids
    unless it is true at once.
    """
    page.evaluate(
        f"""new Promise((done) => {{
            const look = () => ({condition}) ? done() : requestAnimationFrame(look);
            look();
        }})"""
    )


def brightness(page: Any) -> float:
    """Mean of all the pixels of the first panel."""
    return float(
        page.evaluate(
            """() => {
                const canvas = document.querySelector(".panel canvas");
                const {width, height} = canvas;
                const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
                let sum = 0;
                for (let at = 0; at < data.length; at += 4) sum += data[at];
                return sum / (width * height);
            }"""
        )
    )


def place(page: Any, selector: str) -> tuple[float, float]:
    """Where the first such element begins and ends in the window, in pixels from its top."""
    box = page.locator(selector).first.bounding_box()
    return box["y"], box["y"] + box["height"]


def test_dropped_clip_is_shown_with_attention(page: Any, site: Site, tmp_path: Path) -> None:
    page.evaluate("void (window.rest = new Promise((done) => addEventListener('scrollend', done)))")
    drop(page, make_clip(tmp_path / "<i>fell.mp4"))
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#clip") == "<i>fell.mp4"
    # It comes to lie with name, picture and time line above the bar that plays it.
    page.evaluate("window.rest")
    assert place(page, "#clip")[0] >= 0
    assert place(page, ".timeline")[1] <= place(page, "#player")[0]
    assert page.locator(".panel").count() == 2
    assert page.locator(".panel .steps img").count() >= 2
    until(page, "document.querySelector('.screen video').readyState >= 2")
    page.evaluate("document.querySelector('.screen video').pause()")
    # The timeline follows where one seeks, and so does what is said of the moment.
    page.locator("#seek").fill("0.6")
    until(page, "!document.querySelector('.screen video').seeking")
    assert float(page.evaluate("document.querySelector('.head').style.left").rstrip("%")) > 40
    assert "0.6 / " in page.inner_text("#time")
    assert page.get_attribute("#seek", "aria-valuetext").startswith("0.6 seconds: ")
    lit = brightness(page)
    page.uncheck("#light")
    assert brightness(page) > 1.2 * lit
    page.check("#light")
    # Faster than the video can follow, the picture stays as it was and is not dimmed again.
    page.evaluate(
        """for (let at = 0; at < 40; at++) {
            const seek = document.getElementById("seek");
            seek.value = 0.3 + 0.01 * (at % 9);
            seek.dispatchEvent(new Event("input"));
        }"""
    )
    assert brightness(page) > 0.8 * lit
    # By keyboard alone: the slider moves by the model's steps, space plays and pauses.
    page.locator("#seek").fill("0.6")
    page.focus("#seek")
    page.keyboard.press("ArrowRight")
    assert "0.7" in page.inner_text("#time")
    paused = "document.querySelector('.screen video').paused"
    page.keyboard.press("Space")
    until(page, f"!{paused}")
    page.click(".screen >> nth=0")
    until(page, paused)
    page.focus("#play")
    page.keyboard.press("Space")
    until(page, f"!{paused}")
    # A class has the same colour in both panels.
    colours = page.evaluate(
        """[...document.querySelectorAll(".panel")].map((panel) => Object.fromEntries(
            [...panel.querySelectorAll(".bars li")].map(
                (bar) => [bar.children[0].textContent, bar.className])))"""
    )
    assert colours[0] == colours[1]
    assert len(set(colours[0].values())) == 3
    with page.expect_download() as download:
        page.click("text=Download overlay video >> nth=0")
    assert download.value.suggested_filename.endswith("-attention.mp4")
    assert Path(download.value.path()).stat().st_size > 1000
    with page.expect_download() as download:
        page.click("#json")
    assert download.value.suggested_filename.endswith(".json")
    told = json.loads(Path(download.value.path()).read_text())
    assert [said["name"] for said in told["models"]] == ["attention", "average"]


def test_example_can_be_taken_and_shown_again(page: Any, site: Site) -> None:
    if page.locator("#models input").count():
        page.locator("#models input").nth(1).uncheck()
    page.click("#examples li:nth-child(2) button")
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#about") == "It shows: run."
    assert page.locator(".panel").count() == 1
    page.reload()
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#clip") == "b.avi"
    key = page.evaluate("location.hash.slice(1)")
    # A link may also come into a page that is open already.
    page.evaluate("location.hash = ''")
    other = page.context.new_page()
    other.goto(site.address)
    other.wait_for_selector("#examples li")
    other.evaluate(f"location.hash = '{key}'")
    other.wait_for_selector("#result:not([hidden])")
    assert other.inner_text("#clip") == "b.avi"
    other.close()
    page.click("#forget")
    page.wait_for_selector("#result", state="hidden")
    assert site.desk.get(key) is None


def test_key_held_down_does_not_call_an_example_off(page: Any) -> None:
    page.focus("#examples li:nth-child(1) button")
    for _ in range(5):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    page.wait_for_selector("#result:not([hidden])")
    assert not page.is_visible("#problem")


def test_what_is_wrong_is_said(page: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    drop(page, broken)
    page.wait_for_selector("#problem:not([hidden])")
    assert page.inner_text("#problem").startswith("broken.mp4: is no video")
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(2_000_001))
    drop(page, large)
    assert page.inner_text("#problem").startswith("large.mp4: is larger than 2 MB")


def test_address_of_a_clip_that_is_gone_says_so(page: Any, site: Site) -> None:
    page.goto(f"{site.address}/#gone")
    page.wait_for_selector("#problem:not([hidden])")
    assert "hand it in again" in page.inner_text("#problem")
    assert not page.is_visible("#work")
    page.click("#examples li:nth-child(1) button")
    page.wait_for_selector("#result:not([hidden])")
    assert not page.is_visible("#problem")


def test_camera_can_be_used(page: Any) -> None:
    page.click("#record")
    page.wait_for_selector("#result:not([hidden])", timeout=60_000)
    assert page.inner_text("#clip") == "camera"
