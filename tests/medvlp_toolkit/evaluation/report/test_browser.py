"""The page in a real browser, headless; skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medvlp_toolkit.evaluation.report.page import write_report

_BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    path = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"needs a browser on the path, one of {', '.join(_BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


class Opened:
    """A page opened from disk, with what it complained of and asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, height: int = 900, **options: Any) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height}, **options)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def opacity(self, selector: str) -> float:
        return float(self.page.eval_on_selector(selector, "element => getComputedStyle(element).opacity"))


@pytest.fixture
def page_file(make_results, tmp_path: Path) -> Path:
    return write_report(make_results(), tmp_path / "page.html")


def test_it_opens_from_disk_without_a_complaint_or_a_request(browser, page_file: Path) -> None:
    opened = Opened(browser, page_file)
    assert opened.complaints == []
    outgoing = [url for url in opened.requests if not url.startswith("data:")]
    assert outgoing == [page_file.as_uri()]
    assert opened.page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_the_slider_fades_the_heat_map(browser, page_file: Path) -> None:
    opened = Opened(browser, page_file)
    assert opened.opacity(".case .heat") == pytest.approx(0.75)
    slider = opened.page.locator("#heat")
    slider.fill("10")
    assert opened.opacity(".case .heat") == pytest.approx(0.1)
    assert opened.page.inner_text("#heat-value") == "10 %"
    slider.focus()
    opened.page.keyboard.press("ArrowRight")
    assert opened.opacity(".case .heat") == pytest.approx(0.11)


def test_boxes_can_be_hidden_and_cases_chosen(browser, page_file: Path) -> None:
    page = Opened(browser, page_file).page
    assert page.locator(".case:visible").count() == 6  # one of each kind for both findings
    page.select_option("#finding", "*")
    assert page.locator(".case:visible").count() == 8
    page.select_option("#finding", "effusion")
    page.select_option("#kind", "found")
    assert page.locator(".case:visible").count() == 2
    assert page.inner_text("#shown") == "2 of 8 cases"
    assert page.locator(".case:visible .box").first.is_visible()
    page.uncheck("#boxes")
    assert not page.locator(".case .box").first.is_visible()


def test_a_case_is_enlarged_and_closed_by_the_keyboard(browser, page_file: Path) -> None:
    page = Opened(browser, page_file).page
    page.locator(".enlarge:visible").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog .picture").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_runs_over_the_side(browser, page_file: Path, width: int) -> None:
    page = Opened(browser, page_file, width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def contrast(page: Any, text: str, back: str) -> float:
    """WCAG's contrast of two of the page's colours."""
    return float(
        page.evaluate(
            """([text, back]) => {
              const value = name => {
                const probe = document.createElement("i");
                probe.style.color = `var(${name})`;
                document.body.append(probe);
                const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255);
                probe.remove();
                const [r, g, b] = parts.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const [a, b] = [value(text), value(back)].sort((x, y) => y - x);
              return (a + 0.05) / (b + 0.05);
            }""",
            [text, back],
        )
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_schemes(browser, page_file: Path, scheme: str) -> None:
    page = Opened(browser, page_file, color_scheme=scheme).page
    pairs = [("--ink", "--card"), ("--soft", "--card"), ("--soft", "--page"), ("--one", "--card"), ("--two", "--card")]
    pairs += [("--ink", "--warn-back"), ("--warn", "--warn-back"), ("--good", "--good-back"), ("--bad", "--bad-back")]
    pairs += [("--head-ink", "--head"), ("--head-soft", "--head")]
    for text, back in pairs:
        assert contrast(page, text, back) >= 4.5, (text, back)


def test_light_and_dark_can_be_chosen(browser, page_file: Path) -> None:
    page = Opened(browser, page_file, color_scheme="light").page
    back = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(back)
    page.click("#theme")
    dark = page.evaluate(back)
    assert light != dark
    page.click("#theme")
    assert page.evaluate(back) == light


def test_it_prints_without_controls(browser, page_file: Path) -> None:
    page = Opened(browser, page_file).page
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert not page.locator("#controls").is_visible()
    assert page.locator("#zero_shot table").first.is_visible()


def test_without_script_everything_is_shown(browser, page_file: Path) -> None:
    opened = Opened(browser, page_file, java_script_enabled=False)
    assert opened.page.locator("article").count() == 8
    assert opened.page.locator("article").last.is_visible()
    assert not opened.page.locator("#controls").is_visible()


def test_a_comparison_works_too(browser, make_results, tmp_path: Path) -> None:
    path = write_report(make_results("first"), tmp_path / "page.html", make_results("second", seed=3))
    opened = Opened(browser, path, width=390)
    assert opened.complaints == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.page.locator("#comparison table").is_visible()
