"""Every command block of the documentation: how a test runs it, what makes it short, and why one is not run.

The one place for all of it. A new block is entered in :data:`PAGES`; ``tests/docs/test_commands.py`` fails otherwise.
Blocks and lines are named by how they begin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
#: Pages whose command blocks are run.
WHERE = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "bundles/*/docs/*.md", "plugins/*/README.md")
LANGUAGES = ("bash", "sh", "shell", "console")

Speed = Literal["fast", "slow"]
Scene = Literal["files", "trained", "arl"]


@dataclass(frozen=True)
class Block:
    """A block of commands of a page, without comments."""

    page: str
    text: str

    @property
    def key(self) -> str:
        """The first command that is no assignment."""
        return next((line for line in self.text.splitlines() if not re.fullmatch(r"\w+=\S*", line)), "")


@dataclass(frozen=True)
class NotRun:
    """Why this test does not run a block or a line; ``test``, if any, runs it and looks at what it prints."""

    reason: str
    test: str = ""


@dataclass(frozen=True)
class Page:
    """The blocks of a page. They run in its order, in one folder, each in a shell of its own.

    Args:
        blocks: how a block begins -> whether it takes long, or why it is not run.
        scene: what lies in the folder (:mod:`tests.docs.scenes`): ``files``; ``trained``, with what README's commands
            left; ``arl``, with what those of ARL's card left.
        before: how a block begins -> commands that it takes for granted.
        without: how a line begins -> why it is left out of its block.
        replaced: texts of the page, and what is run instead.
    """

    blocks: Mapping[str, Speed | NotRun]
    scene: Scene = "files"
    before: Mapping[str, str] = field(default_factory=dict)
    without: Mapping[str, NotRun] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)


def command_blocks(root: Path = ROOT) -> list[Block]:
    """All blocks of commands, in the order of their pages."""
    pages = [path for pattern in WHERE for path in sorted(root.glob(pattern))]
    return [
        Block(path.relative_to(root).as_posix(), without_comments(text))
        for path in pages
        for language in LANGUAGES
        for text in fenced(path, language)
    ]


def fenced(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, their indentation taken away."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) for indent, text in found]


def without_comments(text: str) -> str:
    lines = (re.sub(r"(^|\s+)# .*$", "", line.removeprefix("$ ")) for line in text.splitlines())
    return "\n".join(line for line in lines if line.strip())


# -- what makes runs short --------------------------------------------------------------------------

_SMALL_STORE: dict[str, object] = {"stored_size": 64, "workers": 0}
_SMALL_PAIRS: dict[str, object] = {
    "image_size": 32, "width": 32, "image_encoder::last_stage": 2, "image_encoder::widths": [16, 32],
    "precision": "fp32", "epochs": 2, "batch_size": 8,
}  # fmt: skip

_SMALL_MEDKLIP: dict[str, object] = {
    "epochs": 1, "image_size": 64, "batch_size": 16, "image_encoder::depth": 18, "text_model::pretrained": "bert",
    "min_positives": 1,
}  # fmt: skip

#: A bundle's configuration, with an overlay or alone -> ids that the run is given besides; ``+`` is one more overlay.
REDUCED: dict[tuple[str, ...], dict[str, object]] = {
    ("medklip/prepare", "demo"): {"source::count": 160, "image_size": 64, "workers": 0},
    ("medklip/train", "demo"): {"image_size": 64, "epochs": 1, "batch_size": 16, "min_positives": 1},
    ("medklip/evaluate", "demo"): {"image_size": 64},
    ("medklip/prepare", "weak_pairs"): _SMALL_STORE,
    ("medklip/train", "weak_pairs"): {
        "epochs": 1, "image_size": 64, "text_model_dir": "bert", "text_width": 768, "min_positives": 1,
    },
    ("medklip/prepare", "volume"): {"stored_size": "[16,16,16]", "workers": 0},
    ("medklip/prepare",): _SMALL_STORE,
    ("medklip/train",): _SMALL_MEDKLIP,
    ("medklip/train", "clip"): _SMALL_MEDKLIP,
    ("arl/prepare",): {**_SMALL_STORE, "ontology::path": "hp.obo"},
    ("arl/graph",): {"threshold": 3, "entity_width": 16, "embedding_epochs": 1, "ontology::path": "hp.obo"},
    # The published towers come from a hub: the demo's small ones learn from the same store.
    ("arl/train",): {"+": "demo", "image_size": 64, "steps": 8, "batch_size": 16},
    ("contrastive/prepare",): _SMALL_STORE,
    # The published towers come from a hub, as ARL's.
    ("contrastive/train",): {"+": "demo", "image_size": 64, "epochs": 1, "batch_size": 16},
    ("kad/prepare",): _SMALL_STORE,
    ("kad/knowledge",): {"+": "knowledge_demo", "epochs": 2, "val_interval": 1},
    # The published towers come from a hub, as ARL's.
    ("kad/train",): {"+": "demo", "image_size": 64, "epochs": 1, "batch_size": 16, "min_positives": 1},
    ("retrieval/prepare",): _SMALL_STORE,
    ("retrieval/train",): {**_SMALL_PAIRS, "negatives": 3},
    ("image_text_classification/prepare",): _SMALL_STORE,
    ("image_text_classification/train",): _SMALL_PAIRS,
    ("vqa/prepare",): _SMALL_STORE,
    ("vqa/train",): _SMALL_PAIRS,
}  # fmt: skip
#: Commands of `medvlp` -> options that they are given besides.
REDUCED_OPTIONS: dict[tuple[str, ...], dict[str, object]] = {
    ("bench", "data"): {"images": 128, "jpegs": 16, "report-count": 50, "studies": 50, "repeats": 1, "workers": 1},
    ("bench", "step"): {"repeats": 1, "steps": 1, "warm-up": 1, "batch": 2},
    ("bench", "memory"): {"studies": 2000, "epochs": 1},
    ("graph",): {"threshold": 3},
}

# -- how each block runs ----------------------------------------------------------------------------

_RUN = "python -m monai.bundle run --config_file"
_OWN_DATA = f"{_RUN} $B/prepare.yaml --csv my/studies.csv --dataset_dir data/mine"
_THE_TESTS = NotRun("runs the tests, this one among them")
_A_MODEL = NotRun(
    "needs a language model", test="docs/test_report_filters.py::test_the_commands_of_the_page_on_language_models"
)
_WORDS = NotRun("its output is compared", test="docs/test_report_filters.py::test_a_page_of_commands_does_what_it_says")
_RADGRAPH = NotRun("needs RadGraph's weights", test="docs/test_report_filters.py::test_the_radgraph_script_runs")
_EXPORT = NotRun("its files are compared", test="docs/test_export_and_offline.py::test_the_page_on_export_runs")
_NETWORK = NotRun("needs a network")
_OFFLINE = NotRun(
    "its output is compared", test="docs/test_export_and_offline.py::test_the_page_on_offline_use_shows_what_happens"
)
_TUTORIAL = NotRun("its cells run in order", test="docs/test_tutorials.py::test_every_cell_runs")
_AS_LEFT = "mkdir -p data runs && cp -r data/mine data/medklip && cp -r runs/mine runs/medklip"

PAGES: dict[str, Page] = {
    "README.md": Page(
        {"make demo": "slow", ". .venv/bin/activate": "slow", "python3 -m venv": "fast", _OWN_DATA: "slow"},
        scene="trained",
        before={"python3 -m venv": "rm -rf .venv"},
        without={"make test": _THE_TESTS},
    ),
    "CONTRIBUTING.md": Page({"make test": _THE_TESTS}),
    "docs/index.md": Page({"make demo": "slow", ". .venv/bin/activate": "slow", _OWN_DATA: "slow"}, scene="trained"),
    "docs/cli.md": Page(
        {
            "medvlp plugins": "slow",
            "medvlp info": "fast",
            "medvlp doctor": "slow",
            "medvlp bundle list": "fast",
            "medvlp verify": "slow",
            "medvlp new": "fast",
            "medvlp filter": "fast",
            "medvlp label": "fast",
            "medvlp prepare": "slow",
            "medvlp inspect": "slow",
            "medvlp report": "slow",
            "medvlp graph": "slow",
            "medvlp import": NotRun("needs the published checkpoint", test="plugins/medvlp_medklip/test_importer.py"),
            "medvlp export": _EXPORT,
            "medvlp submit": "fast",
            "medvlp bench": "slow",
        },
        scene="trained",
        before={
            "medvlp verify": "cp my_overlay.yaml my_recipe/configs; cp -r bundles/medklip somebody_elses_bundle",
            "medvlp report": _AS_LEFT,
            "medvlp graph": "medvlp prepare bundles/arl/configs/prepare.yaml --set csv=my/studies.csv "
            "--set dataset_dir=data/arl",
            "medvlp prepare": "rm -rf data",
        },
        without={
            "medvlp prepare prepare.yaml --scheduler": NotRun("needs a Dask cluster"),
            "medvlp filter reports.csv --filter llm": _A_MODEL,
            "medvlp filter reports.csv --compare rules llm": _A_MODEL,
        },
        replaced={
            "reports.csv --scheme my_scheme.yaml": "hospital.csv --scheme my_scheme.yaml",
            "umls:/data/umls/META": "obo:hp.obo",
            "bundle --strict --json": "bundle --strict --json || test $? = 1",  # it lists what is to be read
        },
    ),
    "docs/data.md": Page({"medvlp prepare": "slow"}),
    "docs/evaluation.md": Page(
        {
            f"{_RUN} bundles/medklip/configs/evaluate.yaml": "slow",
            "medvlp report": "slow",
            f"{_RUN} \"['$B/evaluate.yaml','$B/probes.yaml']\"": "slow",
        },
        scene="trained",
        before={"medvlp report": _AS_LEFT},
    ),
    "docs/export.md": Page({"medvlp export": _EXPORT, "python deployed/run_onnx.py": _EXPORT}),
    "docs/install.md": Page({"python3 -m venv": "fast", "pip install": "fast", "pip wheel": "fast"}),
    "docs/labels.md": Page(
        {
            f"{_RUN} $B/evaluate.yaml": "slow",
            f"{_RUN} $B/prepare.yaml": "slow",
        },
        scene="trained",
    ),
    "docs/languages.md": Page(dict.fromkeys(("cat >", "medvlp filter"), _WORDS)),
    "docs/lexicon.md": Page(dict.fromkeys(("cat >", "python -c", "medvlp filter", "medvlp label", "sed"), _WORDS)),
    "docs/llm.md": Page(
        {
            "medvlp filter reports.csv --filter llm": _A_MODEL,
            "medvlp filter reports.csv --compare rules llm": _A_MODEL,
            "medvlp filter reports.csv --compare rules rules": _A_MODEL,
        }
    ),
    "docs/offline.md": Page({"pip download": _NETWORK, "hf download": _NETWORK, "medvlp doctor": _OFFLINE}),
    "docs/performance.md": Page(
        {"medvlp bench step": "slow"}, replaced={"OLDER_CHECKOUT": str(ROOT), 'fp32" "prec': 'fp32" "batch_size=2 prec'}
    ),
    "docs/plugins.md": Page({"medvlp new": "fast"}),
    "docs/python.md": Page({"export PYTHONWARNINGS": "fast"}),
    "docs/encoders.md": Page(
        {
            f"{_RUN} \"['$B/train.yaml','$B/clip.yaml','dinov2.yaml']\"": NotRun(
                "needs a folder with DINOv2", test="bundles/test_adapted_encoders.py::test_the_page_puts_dinov2"
            ),
        },
    ),
    "docs/recipes.md": Page(
        {
            "medvlp bundle list": "fast",
            f"{_RUN} \"['bundles/medklip/configs/train.yaml','my_encoder.yaml']\"": "slow",
            f"{_RUN} \"['$B/train.yaml','$B/clip.yaml']\"": "slow",
        },
        scene="trained",
        replaced={"/models/Bio_ClinicalBERT": "bert"},
    ),
    "docs/report_accuracy.md": Page(
        {
            "python -m medvlp_reports.accuracy.open_i_places": NotRun(
                "needs Open-i's reports", test="plugins/medvlp_reports/test_accuracy.py"
            ),
            "python -m medvlp_reports.accuracy.negex_kit": NotRun(
                "needs NegEx's sentences", test="plugins/medvlp_reports/test_accuracy.py"
            ),
        }
    ),
    "docs/report_filters.md": Page({"medvlp label": "slow", "python -m venv radgraph-env": _RADGRAPH}),
    "docs/several_images.md": Page(
        {
            "medvlp prepare bundles": "slow",
            "medvlp prepare $B": "slow",
            f"{_RUN} bundles": "slow",
        },
    ),
    "docs/training.md": Page(
        {f"{_RUN} bundles/medklip/configs/train.yaml --training::without": "slow"},
        scene="trained",
        before={f"{_RUN} bundles": "cp -r data/mine data/medklip"},
    ),
    "docs/tutorials/own_plugin.md": Page({"": _TUTORIAL}),
    "docs/tutorials/own_table.md": Page({"": _TUTORIAL}),
    "docs/tutorials/zero_shot.md": Page({"": _TUTORIAL}),
    "docs/clusters.md": Page(
        {"torchrun": "slow", "medvlp submit": "fast"},
        scene="trained",
        before={"torchrun": "cp -r data/mine data/medklip"},
    ),
    "docs/dicom.md": Page(
        {f"{_RUN} bundles/medklip/configs/inference.yaml": "slow", "medvlp prepare": "slow"}, scene="trained"
    ),
    "docs/resume.md": Page(
        {f"{_RUN} \"['$B/train.yaml','$B/resume.yaml']\"": "slow"},
        scene="trained",
        before={f"{_RUN} \"['$B/train.yaml'": "cp -r data/mine data/medklip; cp -r runs/mine runs/medklip"},
    ),
    "docs/scores.md": Page(
        {"medvlp report": NotRun("needs what its Python writes", test="docs/test_how_to.py::test_the_page_on_scores")}
    ),
    "docs/tracking.md": Page(
        {
            "tensorboard": NotRun("serves a page until it is stopped"),
            f"{_RUN} bundles/medklip/configs/train.yaml --mlflow": NotRun(
                "needs MLflow", test="bundles/test_evaluation.py::test_mlflow_keeps_track"
            ),
        }
    ),
    "bundles/arl/docs/README.md": Page({"pip install": "slow"}, scene="arl"),
    "bundles/contrastive/docs/README.md": Page({f"{_RUN} $B/prepare.yaml": "slow"}),
    "bundles/image_text_classification/docs/README.md": Page({f"{_RUN} $B/prepare.yaml": "slow"}),
    "bundles/kad/docs/README.md": Page({f"{_RUN} $B/prepare.yaml": "slow"}),
    "bundles/medklip/docs/README.md": Page(
        {"python -m monai.bundle run run_prepare": "slow", _OWN_DATA: "slow"}, scene="trained"
    ),
    "bundles/retrieval/docs/README.md": Page(
        {f"{_RUN} $B/prepare.yaml": "slow", f"{_RUN} bundles": "slow"},
        scene="arl",
        # The published towers see colour, the small ones that ARL's card trained here grey.
        before={
            f"{_RUN} bundles": f"{_RUN} bundles/retrieval/configs/prepare.yaml --root data/roco-dataset "
            "--dataset_dir data/grey --channels 1\ncp -r runs/mine runs/arl"
        },
        replaced={
            "data/roco \\\n  --finetuned null": "data/grey --finetuned null",
            "--image_size 288": "--image_size 64",
        },
    ),
    "bundles/vqa/docs/README.md": Page({f"{_RUN} $B/prepare.yaml": "slow"}),
    "plugins/medvlp-example/README.md": Page({"pip install": "fast"}, before={"pip install": "cd example"}),
}


def page_of(block: Block) -> Page:
    if block.page not in PAGES:
        raise LookupError(f"{block.page} has a block of commands: enter the page in PAGES of tests/docs/commands.py")
    return PAGES[block.page]


def how(block: Block) -> Speed | NotRun:
    """How a block runs; LookupError for one that is not entered."""
    blocks = page_of(block).blocks
    starts = [start for start in blocks if block.key.startswith(start)]
    if not starts:
        raise LookupError(f"{block.page}: enter the block {block.key!r} in PAGES of tests/docs/commands.py")
    return blocks[max(starts, key=len)]


def left_out(block: Block) -> list[str]:
    """The lines of a block that are not run."""
    starts = tuple(page_of(block).without)
    return [line for line in block.text.splitlines() if starts and line.startswith(starts)]


def runnable(block: Block) -> str:
    """What is run of a block: its lines but those left out, after what it takes for granted."""
    page, skipped = page_of(block), left_out(block)
    text = "\n".join(line for line in block.text.splitlines() if line not in skipped)
    for shown, run in page.replaced.items():
        text = text.replace(shown, run)
    before = [commands for start, commands in page.before.items() if block.key.startswith(start)]
    return "\n".join([*before, text])
