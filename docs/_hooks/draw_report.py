"""Draw docs/images/report.png, the top of a report page: ``python docs/_hooks/draw_report.py [RESULTS]``.

RESULTS is an evaluation's folder, by default the one that ``make demo`` leaves. Needs Playwright and Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from medvlp_toolkit.evaluation.report.page import write_report

IMAGE = Path(__file__).parents[1] / "images" / "report.png"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def draw(results: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = write_report(results, Path(folder) / "report.html")
        path = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1200, "height": 860}, color_scheme="light")
        shown.goto(page.resolve().as_uri())
        shown.screenshot(path=IMAGE)
        browser.close()


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo/evaluation"))
