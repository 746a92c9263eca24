"""Tests of the page in Chromium, driven by Playwright."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glimpses.segments import Segment, read_segments
from tests.serve.conftest import Site, make_clip

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; it is the extra `browser`"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox", "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture(params=[(360, 740, "dark"), (1280, 900, "light")], ids=["phone", "desktop"])
def page(browser: Any, site: Site, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Open the page; fail on any error and on any request to another server."""
    width, height, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    # Browsers log every response of 404 as an error.
    page.on(
        "console",
        lambda message: (
            problems.append(message.text)
            if message.type == "error" and "404" not in message.text
            else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((site.address, "blob:", "data:"))
            else problems.append(request.url)
        ),
    )
    page.goto(site.address)
    page.wait_for_selector("#examples li")
    yield page
    assert problems == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    context.close()


def drop(page: Any, path: Path) -> None:
    """Drop a file on the page."""
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

    Playwright's `wait_for_function` evaluates text repeatedly, which the page's security policy
    forbids.
    """
    page.evaluate(
        f"""new Promise((done) => {{
            const check = () => ({condition}) ? done() : requestAnimationFrame(check);
            check();
        }})"""
    )


def brightness(page: Any) -> float:
    """Return the mean pixel value of the first panel."""
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


def vertical_extent(page: Any, selector: str) -> tuple[float, float]:
    """Return the top and bottom of the first matching element, in pixels from the window's top."""
    box = page.locator(selector).first.bounding_box()
    return box["y"], box["y"] + box["height"]


def test_dropped_clip_is_shown_with_attention(page: Any, site: Site, tmp_path: Path) -> None:
    page.evaluate(
        "void (window.scrolled = new Promise((done) => addEventListener('scrollend', done)))"
    )
    drop(page, make_clip(tmp_path / "<i>fell.mp4"))
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#clip") == "<i>fell.mp4"
    # The page scrolls until name, picture and timeline are visible above the player.
    page.evaluate("window.scrolled")
    assert vertical_extent(page, "#clip")[0] >= 0
    assert vertical_extent(page, ".timeline")[1] <= vertical_extent(page, "#player")[0]
    assert page.locator(".panel").count() == 2
    assert page.locator(".panel .steps img").count() >= 2
    until(page, "document.querySelector('.screen video').readyState >= 2")
    page.evaluate("document.querySelector('.screen video').pause()")
    # Timeline and description follow the slider.
    page.locator("#seek").fill("0.6")
    until(page, "!document.querySelector('.screen video').seeking")
    assert float(page.evaluate("document.querySelector('.playhead').style.left").rstrip("%")) > 40
    assert "0.6 / " in page.inner_text("#time")
    assert page.get_attribute("#seek", "aria-valuetext").startswith("0.6 seconds: ")
    with_heatmap = brightness(page)
    page.uncheck("#attention")
    assert brightness(page) > 1.2 * with_heatmap
    page.check("#attention")
    # While the video seeks, the picture stays and is not dimmed a second time.
    page.evaluate(
        """for (let at = 0; at < 40; at++) {
            const seek = document.getElementById("seek");
            seek.value = 0.3 + 0.01 * (at % 9);
            seek.dispatchEvent(new Event("input"));
        }"""
    )
    assert brightness(page) > 0.8 * with_heatmap
    # Keyboard: arrow keys move by one step of the model, space plays and pauses.
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
    result = json.loads(Path(download.value.path()).read_text())
    assert [prediction["name"] for prediction in result["models"]] == ["attention", "average"]


def downloaded(page: Any) -> list[Segment]:
    """Download the segments of the first panel and return them."""
    with page.expect_download() as download:
        page.click("text=/^Download \\d+ segments?$/ >> nth=0")
    assert download.value.suggested_filename == "long-segments.csv"
    return read_segments(download.value.path(), format="csv")


def test_segments_are_corrected_filtered_and_downloaded(
    page: Any, site: Site, tmp_path: Path
) -> None:
    drop(page, make_clip(tmp_path / "long.mp4", seconds=4.0))
    page.wait_for_selector("#result:not([hidden])")
    editor = page.locator(".segment-editor").first
    blocks = editor.locator(".segments button")
    found = downloaded(page)
    assert blocks.count() == len(found) > 0
    # A click jumps to a segment.
    page.locator("#seek").fill("2")
    blocks.first.click()
    assert float(page.input_value("#seek")) == pytest.approx(found[0].start, abs=0.01)
    # Boundaries by keyboard and by dragging, and the action.
    end = editor.get_by_label("End in seconds")
    end.fill("3")
    end.press("Enter")
    editor.locator(".handle.start").scroll_into_view_if_needed()
    handle = editor.locator(".handle.start").bounding_box()
    strip = editor.locator(".segments").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(strip["x"] + strip["width"] / 4, y)
    page.mouse.up()
    editor.get_by_label("Action", exact=True).select_option("jump")
    changed = downloaded(page)
    assert (changed[0].label, changed[0].score) == ("jump", None)
    assert changed[0].start == pytest.approx(1.0, abs=0.05)
    assert changed[0].end == 3.0
    assert {one.file for one in changed} == {"long.mp4"}
    page.locator("#seek").fill("3")
    editor.get_by_text("Add a segment here").click()
    assert blocks.count() == len(found) + 1
    # The corrected segments pass any confidence, the others do not.
    editor.get_by_label("Confidence from").fill("100")
    assert blocks.count() == 2
    editor.get_by_role("checkbox", name="jump").uncheck()
    assert blocks.count() == 0
    editor.get_by_role("checkbox", name="jump").check()
    editor.get_by_label("Confidence from").fill("0")
    # Arrow keys go from one segment to the next.
    blocks.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.ariaPressed") == "true"
    editor.get_by_text("Remove").click()
    editor.get_by_text("Undo all corrections").click()
    assert downloaded(page) == found


def test_example_survives_a_reload(page: Any, site: Site) -> None:
    if page.locator("#models input").count():
        page.locator("#models input").nth(1).uncheck()
    page.click("#examples li:nth-child(2) button")
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#notes") == "Annotated action: run."
    assert page.locator(".panel").count() == 1
    page.reload()
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#clip") == "b.avi"
    clip_id = page.evaluate("location.hash.slice(1)")
    # A fragment may also change in an open page.
    page.evaluate("location.hash = ''")
    other = page.context.new_page()
    other.goto(site.address)
    other.wait_for_selector("#examples li")
    other.evaluate(f"location.hash = '{clip_id}'")
    other.wait_for_selector("#result:not([hidden])")
    assert other.inner_text("#clip") == "b.avi"
    other.close()
    page.click("#delete")
    page.wait_for_selector("#result", state="hidden")
    assert site.queue.get(clip_id) is None


def test_held_enter_key_does_not_cancel_the_example(page: Any) -> None:
    page.focus("#examples li:nth-child(1) button")
    for _ in range(5):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    page.wait_for_selector("#result:not([hidden])")
    assert not page.is_visible("#error")


def test_errors_are_shown(page: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    drop(page, broken)
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error").startswith("broken.mp4: is not a video")
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(2_000_001))
    drop(page, large)
    assert page.inner_text("#error").startswith("large.mp4: is larger than 2 MB")


def test_link_to_a_deleted_clip_shows_an_error(page: Any, site: Site) -> None:
    page.goto(f"{site.address}/#gone")
    page.wait_for_selector("#error:not([hidden])")
    assert "upload it again" in page.inner_text("#error")
    assert not page.is_visible("#job")
    page.click("#examples li:nth-child(1) button")
    page.wait_for_selector("#result:not([hidden])")
    assert not page.is_visible("#error")


def test_camera_can_be_recorded(page: Any) -> None:
    page.click("#record")
    page.wait_for_selector("#result:not([hidden])", timeout=60_000)
    assert page.inner_text("#clip") == "camera"
