"""Every command block of README, docs and model cards runs as it is printed, made short in one place."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.commands import PAGES, ROOT, Block, NotRun, command_blocks, how, left_out, page_of, runnable
from tests.docs.programs import SITE, programs
from tests.docs.scenes import files, shown_files
from tests.docs.zygote import ADDRESS

BLOCKS = command_blocks()
MINUTES_PER_BLOCK = 20


def of(page: str) -> list[Block]:
    return [block for block in BLOCKS if block.page == page]


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where the programs run what has long imports."""
    address = str(tmp_path_factory.mktemp("zygote") / "socket")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", "tests.docs.zygote", address], env=environment) as process:
        os.environ[ADDRESS] = address
        yield
        del os.environ[ADDRESS]
        process.kill()


def run(block: Block, folder: Path) -> str:
    """Run a block in a folder; what it printed."""
    places = os.pathsep.join([str(folder / "programs"), os.environ["PATH"]])
    paths = os.pathsep.join([str(folder / SITE), str(ROOT)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": places, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        ["bash", "-e", "-c", runnable(block)], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=60 * MINUTES_PER_BLOCK,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert done.returncode == 0, f"{block.page}\n{runnable(block)}\n{printed[-3000:]}"
    return printed


def scene(folder: Path, page: str, runs: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    programs(folder / "programs")
    return files(folder, page, runs)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}: {block.key[:40]}")
def test_how_each_block_runs_is_entered(block: Block) -> None:
    if isinstance(how(block), str):
        assert runnable(block).strip()


def test_what_is_entered_is_there() -> None:
    """No entry outlives its block or line, and a test that is said to run one exists."""
    assert set(PAGES) == {block.page for block in BLOCKS}
    for name, page in PAGES.items():
        keys = [block.key for block in of(name)]
        lines = [line for block in of(name) for line in block.text.splitlines()]
        shown = "\n".join(lines)
        for start in (*page.blocks, *page.before):
            assert any(key.startswith(start) for key in keys), f"{name}: no block begins with {start!r}"
        for start in page.without:
            assert any(line.startswith(start) for line in lines), f"{name}: no line begins with {start!r}"
        for text in page.replaced:
            assert text in shown, f"{name}: {text!r} is in no block"
        for reason in (*page.blocks.values(), *page.without.values()):
            if isinstance(reason, NotRun) and reason.test:
                file, _, test = reason.test.partition("::")
                assert test in (ROOT / "tests" / file).read_text(encoding="utf-8"), reason.test


def test_a_block_that_is_not_entered_is_noticed() -> None:
    with pytest.raises(LookupError, match=r"README.md: enter the block 'medvlp frobnicate'"):
        how(Block("README.md", "B=x\nmedvlp frobnicate"))
    with pytest.raises(LookupError, match="enter the page"):
        how(Block("docs/new.md", "medvlp plugins"))


def fast_pages() -> list[str]:
    return [page for page in PAGES if any(how(block) == "fast" for block in of(page))]


@pytest.mark.parametrize("page", fast_pages())
def test_the_short_commands_of_a_page_run(page: str, tmp_path: Path) -> None:
    folder = scene(tmp_path / "here", page, runs=False)
    for block in of(page):
        if how(block) == "fast":
            run(block, folder)


# -- those that take long ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def trained(zygote: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What README's commands leave."""
    return left_by("README.md", tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def arl(zygote: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of ARL's card leave."""
    return left_by("bundles/arl/docs/README.md", tmp_path_factory.mktemp("arl"))


def left_by(page: str, folder: Path) -> Path:
    scene(folder, page, runs=True)
    printed = {runnable(block): run(block, folder) for block in of(page)}
    (folder / "printed.json").write_text(json.dumps(printed))
    return folder


def slow_pages() -> list[str]:
    return [page for page in PAGES if any(how(block) == "slow" for block in of(page))]


@pytest.mark.slow
@pytest.mark.usefixtures("zygote")
@pytest.mark.parametrize("page", slow_pages())
def test_the_commands_of_a_page_run(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """In the page's order; a block that the scene has run is not run again."""
    folder, ran = tmp_path / "here", set()
    if PAGES[page].scene != "files":
        left = request.getfixturevalue(PAGES[page].scene)
        shutil.copytree(left, folder, symlinks=True)
        ran = set(json.loads((left / "printed.json").read_text()))
        shown_files(folder, page)
    else:
        scene(folder, page, runs=True)
    for block in of(page):
        if not isinstance(how(block), NotRun) and runnable(block) not in ran:
            run(block, folder)


@pytest.mark.slow
def test_the_readmes_own_data_end_in_figures_that_say_where_they_come_from(trained: Path) -> None:
    printed = " ".join(json.loads((trained / "printed.json").read_text()).values())
    assert "labels derived from the reports by `rules`, not annotations" in " ".join(
        re.sub(r"[│┃]", "", printed).split()
    )
    metrics = json.loads((trained / "runs/mine/evaluation/metrics.json").read_text())
    assert metrics["labels"]["origin"] == "reports"
    assert 0 <= metrics["zero_shot"]["macro"]["auc"] <= 1
    assert (trained / "runs/inference/probabilities.csv").is_file()
    assert (trained / "runs/demo/evaluation/overlays/overlays.png").is_file()


def test_how_many_blocks_run_is_as_it_was_counted() -> None:
    """Few are not run; more of them is a decision, not an accident."""
    reasons = [reason for block in BLOCKS if isinstance(reason := how(block), NotRun)]
    assert len([reason for reason in reasons if not reason.test]) <= 6
    assert sum(len(left_out(block)) for block in BLOCKS if page_of(block)) <= 6
