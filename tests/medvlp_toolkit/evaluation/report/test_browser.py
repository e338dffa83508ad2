"""The page in a real browser, headless; skipped where there is none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medvlp_toolkit.evaluation.report.page import write_report
from tests.medvlp_toolkit.evaluation.report.kinds import KINDS

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


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS), "zero_shot", "comparison"]
)
@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_axe_finds_nothing(browser, make_results, tmp_path: Path, kind: str, width: int) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe: pip install axe-playwright-python"
    )
    folder = KINDS[kind](tmp_path / kind) if kind in KINDS else make_results("first")
    other = make_results("second", seed=3) if kind == "comparison" else None
    page = Opened(browser, write_report(folder, tmp_path / "page.html", other), width=width).page
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def column(page: Any, place: int) -> list[str]:
    return page.locator(f"#zero_shot table >> nth=0 >> tbody tr > :nth-child({place})").all_inner_texts()


def test_a_column_is_sorted_by_a_click_or_the_keyboard(browser, page_file: Path) -> None:
    page = Opened(browser, page_file).page
    assert column(page, 1)[0] == "effusion"
    page.locator("#zero_shot button.sort", has_text="AUC").first.click()
    values = [float(text) for text in column(page, 3)]
    assert values[:-1] == sorted(values[:-1], reverse=True)
    assert column(page, 1)[-1].startswith("mean")  # the mean stays below
    page.locator("#zero_shot button.sort", has_text="AUC").first.focus()
    page.keyboard.press("Enter")
    assert [float(text) for text in column(page, 3)][:-1] == values[:-1][::-1]
    assert page.locator("#zero_shot th[aria-sort=ascending]").count() == 1
    page.locator("#zero_shot table >> nth=0 >> button.sort").first.click()
    assert column(page, 1)[0] == "effusion"


def test_on_a_phone_long_sections_fold_and_tables_sort_by_a_list(browser, page_file: Path) -> None:
    page = Opened(browser, page_file, width=390).page
    assert page.locator("#zero_shot table").first.is_visible()
    assert not page.locator("#curves svg").first.is_visible()
    page.evaluate("document.querySelector('nav a[href=\"#curves\"]').click()")
    page.locator("#curves svg").first.wait_for(state="visible")
    page.select_option("#zero_shot .sort-by select >> nth=0", label="ECE")
    values = [float(text.split()[-1]) for text in column(page, 7)][:-1]
    assert values == sorted(values, reverse=True)


def test_on_a_wide_screen_nothing_is_folded(browser, page_file: Path) -> None:
    assert Opened(browser, page_file).page.locator("details.fold:not([open])").count() == 0


#: Printable width at 96 pixels an inch, with the page's margins of 12 mm.
PAPER = {"A4": (210 - 24) / 25.4 * 96, "Letter": (215.9 - 24) / 25.4 * 96}


@pytest.mark.parametrize(("scheme", "paper"), [("light", "A4"), ("dark", "A4"), ("dark", "Letter")])
@pytest.mark.parametrize("kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS), "zero_shot"])
def test_paper_cuts_no_column(browser, make_results, tmp_path: Path, kind: str, paper: str, scheme: str) -> None:
    make = KINDS.get(kind, lambda folder, **options: make_results(folder.name, **options))
    path = write_report(make(tmp_path / "a"), tmp_path / "page.html", make(tmp_path / "b", seed=3))
    page = Opened(browser, path, width=int(PAPER[paper]), color_scheme=scheme).page
    page.emulate_media(media="print", color_scheme=scheme)
    cut = page.evaluate(
        """() => [...document.querySelectorAll("table, pre, figure, .tile")].filter(
             part => part.getBoundingClientRect().right > document.documentElement.clientWidth + 1
           ).map(part => part.querySelector("caption")?.textContent ?? part.className)"""
    )
    assert cut == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(0, 0, 0)"


@pytest.mark.parametrize("paper", PAPER)
def test_no_heading_stands_alone_at_the_foot_of_a_sheet(browser, make_results, tmp_path: Path, paper: str) -> None:
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("needs pdftotext (Debian: poppler-utils)")
    path = write_report(make_results("first"), tmp_path / "page.html", make_results("second", seed=3))
    page = Opened(browser, path, width=390).page  # folded on the phone, whole on paper
    headings = {text.strip() for text in page.locator("h2, h3").all_text_contents()}
    page.pdf(path=tmp_path / "page.pdf", format=paper)
    text = subprocess.run(
        [reader, "-layout", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    sheets = [[line.strip() for line in sheet.splitlines() if line.strip()] for sheet in text.split("\f")]
    last = [lines[-1] for lines in sheets if lines]
    assert len(last) > 4
    assert "Overlap over thresholds" in text  # folded parts are printed
    assert not headings & set(last)
    assert not [line for line in last if line.startswith("Finding ")]  # the head of a table


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
