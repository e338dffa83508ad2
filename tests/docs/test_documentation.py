"""What the documentation shows runs, and what it links to is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("bundles/*/docs/*.md")]
)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, their indentation taken away."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) for indent, text in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose)
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert not missing, f"{page.name} links to {', '.join(missing)}, which is not there"


def test_the_python_of_the_readme_runs() -> None:
    for code in blocks(ROOT / "README.md", "python"):
        exec(compile(code, "README.md", "exec"), {})


def test_the_overlay_of_the_readme_is_a_part_of_the_recipe() -> None:
    recipe = yaml.safe_load((ROOT / "bundles/medklip/configs/train.yaml").read_text())
    for text in blocks(ROOT / "README.md", "yaml"):
        assert set(yaml.safe_load(text)) <= set(recipe)


def test_the_plugin_of_the_contributing_guide_keeps_its_contract(tmp_path: Path) -> None:
    """The guide's module, entry point and one-line test, put together as an installed package."""
    page = ROOT / "CONTRIBUTING.md"
    module, suite = blocks(page, "python")
    (manifest,) = blocks(page, "toml")
    (tmp_path / "my_filters.py").write_text(module)
    (tmp_path / "test_one_word.py").write_text(suite)
    info = tmp_path / "my_filters-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-filters\nVersion: 0.1.0\n")
    entry = re.search(r'^one_word = "(.*)"$', manifest, re.MULTILINE)
    assert entry is not None
    (info / "entry_points.txt").write_text(f"[medvlp_toolkit.report_filters]\none_word = {entry.group(1)}\n")
    done = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_one_word.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


def own_data(folder: Path) -> None:
    """A CSV of studies of one's own: synthetic phantoms as PNG, with their reports, and one as a radiograph alone."""
    import csv

    from PIL import Image

    from medvlp_phantom import Phantom

    phantom = Phantom(seed=3, size=64)
    (folder / "my").mkdir()
    with (folder / "my" / "studies.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "report", "patient_id"])
        for index in range(150):
            study = phantom.study(index)
            Image.fromarray(study.image).save(folder / "my" / f"{index}.png")
            writer.writerow([f"{index}.png", study.report.text, f"p{index}"])


def small_text_model(folder: Path) -> Path:
    from transformers import BertConfig, BertModel

    from medvlp_encoders.vocabulary import wordpiece_tokenizer

    tokenizer = wordpiece_tokenizer(["fluid in the left pleural space", "opacity of the lung"], 200)
    shape = {"hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 12, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    return folder / "bert"


@pytest.mark.slow
def test_the_commands_for_own_data_run_as_written(tmp_path: Path) -> None:
    """The README's four commands, kept short by overrides; inference on a PNG instead of the DICOM."""
    (commands,) = [text for text in blocks(ROOT / "README.md", "bash") if "prepare.yaml" in text]
    own_data(tmp_path)
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    shorter = {
        "prepare.yaml": "--stored_size 64 --workers 0",
        "train.yaml": f"--epochs 1 --image_size 64 --batch_size 16 --image_encoder::depth 18 "
        f"--text_model::pretrained {small_text_model(tmp_path)} --min_positives 1",
        "evaluate.yaml": "",
        "inference.yaml": "",
    }
    variable = re.search(r"^B=(.*)$", commands, re.MULTILINE)
    assert variable is not None
    lines = [line for line in commands.splitlines() if line.startswith("python -m monai.bundle")]
    assert len(lines) == 4
    for line in lines:
        line = line.replace("$B", variable.group(1)).replace("my/radiograph.dcm", "my/0.png")
        config = next(name for name in shorter if name in line)
        arguments = (line.removeprefix("python ") + " " + shorter[config]).split()
        done = run(sys.executable, *arguments, cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
    assert (tmp_path / "data/mine/store.json").exists()
    assert (tmp_path / "runs/inference/probabilities.csv").exists()
