"""The commands and modules that docs/report_filters.md shows run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chat_server import chat_server
from tests.docs.test_documentation import ROOT, blocks

PAGE, WORDS, LANGUAGES, MODELS = (
    ROOT / "docs" / name for name in ("report_filters.md", "lexicon.md", "languages.md", "llm.md")
)

# The signature of radgraph 0.1.18, whose weights and dependencies are no part of the tests. It writes what the model
# wrote for the package's own example, and fails on a report as the model may: by leaving it out.
RADGRAPH = """
class RadGraph:
    def __init__(self, batch_size=1, cuda=None, model_type=None, temp_dir=None, model_cache_dir=None,
                 tokenizer_cache_dir=None, **kwargs):
        assert model_type in ["radgraph", "radgraph-xl", "echograph", "modern-radgraph-xl"], kwargs

    def __call__(self, hyps):
        assert isinstance(hyps, list) and len(hyps) <= 100
        tube = {"tokens": "tube", "label": "Observation::definitely present", "start_ix": 1, "end_ix": 1,
                "relations": [["located_at", "2"]]}
        above = {"tokens": "2 cm above", "label": "Anatomy::measurement::definitely present", "start_ix": 2,
                 "end_ix": 4, "relations": [["modify", "3"]]}
        carina = {"tokens": "carina", "label": "Anatomy::definitely present", "start_ix": 5, "end_ix": 5,
                  "relations": []}
        graph = {"text": "ET tube 2 cm above carina .", "entities": {"1": tube, "2": above, "3": carina},
                 "data_source": None, "data_split": "inference"}
        return {str(number): graph for number, text in enumerate(hyps) if "fail" not in text}
"""


def run(command: str, folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join([*map(str, path), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": places}
    return subprocess.run(
        ["bash", "-e", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


def program(folder: Path, name: str, command: str) -> None:
    """An executable of the name that runs ``command`` with the arguments it is given."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\n{command} "$@"\n')
    (folder / name).chmod(0o755)


def own_programs(folder: Path) -> Path:
    """A folder with a ``medvlp`` of this interpreter."""
    program(folder, "medvlp", f"exec {sys.executable} -m medvlp_toolkit.cli.main")
    return folder


def test_the_radgraph_script_runs_with_the_parameters_that_its_version_has(tmp_path: Path) -> None:
    (script,) = [text for text in blocks(PAGE, "bash") if "radgraph" in text]
    assert "radgraph==0.1.18" in script
    environment = tmp_path / "radgraph-env" / "bin"
    program(environment, "pip", "exit 0")
    program(environment, "python", f"PYTHONPATH={tmp_path / 'site'} exec {sys.executable}")
    program(tmp_path / "bin", "python", "exit 0")  # `python -m venv`
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "radgraph.py").write_text(RADGRAPH)
    texts = ["ET tube 2 cm above carina."] * 101 + ["this one will fail"]
    (tmp_path / "reports.csv").write_text("id,text\n" + "".join(f"r{n},{text}\n" for n, text in enumerate(texts)))
    done = run(script, tmp_path, tmp_path / "bin", own_programs(tmp_path / "programs"))
    assert done.returncode == 0, done.stderr
    assert "102 of 102 reports" in done.stdout
    assert "unknown to the filter: 1" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "findings.jsonl").read_text().splitlines()]
    assert {(f["entity"], f["presence"]) for line in lines for f in line["findings"]} == {("tube", "present")}


@pytest.mark.parametrize("page", [WORDS, LANGUAGES], ids=lambda page: page.stem)
def test_a_page_of_commands_does_what_it_says(page: Path, tmp_path: Path) -> None:
    """Its files are written, its commands run in order, and what it shows is what they print."""
    for text in blocks(page, "yaml"):
        name, _, content = text.removeprefix("# ").partition("\n")
        (tmp_path / name).write_text(content if name == "overlay.yaml" else text)
    printed = ""
    for command in blocks(page, "bash"):
        done = run(command, tmp_path, own_programs(tmp_path / "programs"))
        assert done.returncode == 0, done.stderr
        printed += done.stdout + done.stderr
    for shown in blocks(page, "text"):
        assert shown in printed
    for python in blocks(page, "python"):
        done = run(f"{sys.executable} - <<'PY'\n{python}\nPY", tmp_path)
        assert done.returncode == 0, done.stderr


def test_every_key_of_the_files_is_in_the_tables_of_the_page() -> None:
    from medvlp_reports.lexicon_file import FindingBlock, LayoutWords, LexiconFile, TokenWords
    from medvlp_reports.scheme_file import NoFinding, SchemeFile

    page = WORDS.read_text(encoding="utf-8") + LANGUAGES.read_text(encoding="utf-8")
    for model in (LexiconFile, FindingBlock, LayoutWords, TokenWords, SchemeFile, NoFinding):
        for key in model.model_fields:
            assert f"`{key}`" in page, key


def test_the_commands_of_the_page_on_language_models_run(tmp_path: Path) -> None:
    """Against a server at another port; the configuration builds what the commands run."""
    import yaml

    import medvlp_toolkit as mv

    (tmp_path / "reports.csv").write_text("id,text\n1,Left effusion. No edema.\n2,Possible pneumothorax.\n")
    with chat_server() as server:
        (overlay,) = blocks(MODELS, "yaml")
        options = yaml.safe_load(overlay)["report_filter"]
        assert options.pop("_target_") == "medvlp_toolkit.report_filters.llm"
        assert mv.report_filters.llm(**options | {"base_url": server.url, "cache_dir": None}).entities
        here = f"base_url={server.url} --{{}} cache_dir={tmp_path / 'cache'}"
        for command in blocks(MODELS, "bash"):
            for option in ("option", "option-b"):
                model = f"--{option} model=Qwen/Qwen3-32B"
                command = command.replace(f"{model} ", f"{model} --{option} {here.format(option)} ")
            done = run(command, tmp_path, own_programs(tmp_path / "programs"))
            assert done.returncode == 0, done.stderr
        assert len(server.requests) == 2  # the second command is answered from the cache
