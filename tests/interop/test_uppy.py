"""Uppy in a real browser, on the page of docs/examples/uppy, used as a visitor does.

TUSPY_SCREENSHOT=docs/images/uppy.png takes the picture that the docs show.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.examples import Example, running_example
from tests.servers.wire import eventually

pytest.importorskip("playwright", reason="playwright is not installed")

from playwright.sync_api import Browser, CDPSession, Page, Route, expect, sync_playwright

CDN = "https://releases.transloadit.com/uppy/"
TYPES = {".mjs": "text/javascript", ".css": "text/css"}
LARGE = 24 << 20
SLOW = 8 << 20  # bytes per second
PATIENCE = 20_000  # milliseconds


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def example() -> Iterator[Example]:
    with running_example("uppy/main") as example:
        yield example


class Visitor:
    """A visitor of the page; Uppy itself comes from npm, not from its CDN."""

    def __init__(self, page: Page, example: Example, dist: Path) -> None:
        self.page = page
        self.asked: list[str] = []
        self._directory = example.directory / "uploads"
        self._url = f"http://127.0.0.1:{example.port}/"
        self._before = set(self._stored())
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.asked.append(request.method) if "/files/" in request.url else None)
        page.route(f"{CDN}**", lambda route: self._serve(route, dist))
        self._line: CDPSession = page.context.new_cdp_session(page)
        self.visit()

    @staticmethod
    def _serve(route: Route, dist: Path) -> None:
        path = dist / route.request.url.rpartition("/")[2]
        allowed = {"Access-Control-Allow-Origin": "*"}
        route.fulfill(body=path.read_bytes(), content_type=TYPES[path.suffix], headers=allowed)

    def _stored(self) -> list[Path]:
        return [path for path in self._directory.glob("*") if path.with_name(f"{path.name}.info").exists()]

    def stored(self) -> list[Path]:
        """The files that this visitor has begun."""
        return [path for path in self._stored() if path not in self._before]

    def visit(self) -> None:
        self.page.goto(self._url)

    def slow_down(self, rate: int) -> None:
        """Bytes per second that the browser sends; -1 for all that it can."""
        self._line.send("Network.enable")
        self._line.send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": rate},
        )

    def choose(self, *files: Path) -> None:
        self.page.locator(".uppy-Dashboard-input").first.set_input_files(list(files))
        self.page.locator(".uppy-StatusBar-actionBtn--upload").click()

    def press(self, name: str) -> None:
        self.page.locator(".uppy-StatusBar").get_by_role("button", name=name, exact=True).click()

    def begin_slowly(self, file: Path) -> None:
        """Bytes of it are stored when this returns, and far from all."""
        self.slow_down(SLOW)
        self.choose(file)
        eventually(self.has_begun, PATIENCE / 1000)

    def has_begun(self) -> bool:
        self.page.wait_for_timeout(20)  # lets the browser's events through
        return any(path.stat().st_size for path in self.stored())

    def wait_until_complete(self) -> None:
        expect(self.page.locator(".uppy-StatusBar.is-complete")).to_be_visible(timeout=PATIENCE)


@pytest.fixture
def visitor(browser: Browser, example: Example, npm_packages: Path) -> Iterator[Visitor]:
    context = browser.new_context(viewport={"width": 800, "height": 600})
    yield Visitor(context.new_page(), example, npm_packages / "node_modules" / "uppy" / "dist")
    context.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "holiday.mp4"
    path.write_bytes(os.urandom(LARGE))
    return path


def test_a_file_is_uploaded(visitor: Visitor, large: Path) -> None:
    visitor.choose(large)
    visitor.wait_until_complete()
    (path,) = visitor.stored()
    assert path.read_bytes() == large.read_bytes()


def test_a_pause_is_resumed_where_it_began(visitor: Visitor, large: Path) -> None:
    visitor.begin_slowly(large)
    visitor.press("Pause")
    picture = os.environ.get("TUSPY_SCREENSHOT", str(large.with_suffix(".png")))
    visitor.page.screenshot(path=picture)
    visitor.slow_down(-1)
    visitor.press("Resume")
    visitor.wait_until_complete()
    assert visitor.asked[:3] == ["POST", "PATCH", "HEAD"]
    assert visitor.asked.count("POST") == 1
    (path,) = visitor.stored()
    assert path.read_bytes() == large.read_bytes()


def test_a_page_that_is_reloaded_goes_on_with_the_same_upload(visitor: Visitor, large: Path) -> None:
    visitor.begin_slowly(large)
    visitor.visit()
    visitor.slow_down(-1)
    visitor.choose(large)
    visitor.wait_until_complete()
    assert visitor.asked[:3] == ["POST", "PATCH", "HEAD"]
    assert visitor.asked.count("POST") == 1
    (path,) = visitor.stored()
    assert path.read_bytes() == large.read_bytes()


def test_cancel_removes_the_upload(visitor: Visitor, large: Path) -> None:
    visitor.begin_slowly(large)
    (path,) = visitor.stored()
    with visitor.page.expect_response(lambda answer: answer.request.method == "DELETE") as answer:
        visitor.press("Cancel")
    assert answer.value.status == 204
    assert not path.exists()


def test_twenty_files_at_once(visitor: Visitor, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.bin" for number in range(20)]
    for path in files:
        path.write_bytes(os.urandom(200_000))
    visitor.choose(*files)
    visitor.wait_until_complete()
    assert {path.read_bytes() for path in visitor.stored()} == {path.read_bytes() for path in files}
