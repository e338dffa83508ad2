"""Tables printed at the end of an evaluation: its metrics, durations and files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medvlp_toolkit.evaluation.results.names import NO_NAMES, Names, readable
from medvlp_toolkit.progress import duration
from medvlp_toolkit.terminal import console as fitting_console

Metrics = Mapping[str, Any]

_F1_ELSEWHERE = "f1_threshold_from_"


def print_summary(
    metrics: Metrics,
    paths: Mapping[str, Path | str] | None = None,
    title: str = "",
    tables: Iterable[Table] = (),
    console: Console | None = None,
) -> None:
    """Print the tables of an evaluation.

    Args:
        metrics: the content of ``metrics.json``. Read, each where it is there: ``zero_shot`` and
            ``zero_shot_held_out``, ``zero_shot_by`` (what the model was asked by -> the same) and ``fine_tuned`` (of
            :func:`~medvlp_toolkit.evaluation.classification_metrics`), ``segmentation`` (of
            :func:`~medvlp_toolkit.evaluation.segmentation_metrics`),
            ``grounding`` (of :func:`~medvlp_toolkit.evaluation.grounding_metrics`), ``laterality``
            (name of the evidence, such as ``position scores`` -> what
            :func:`~medvlp_toolkit.evaluation.laterality_metrics` gives), ``answers`` and ``classes`` (of
            :func:`~medvlp_toolkit.evaluation.answer_metrics`), ``retrieval`` (how it was scored -> what
            :func:`~medvlp_toolkit.evaluation.retrieval_metrics` gives), ``labels`` (where they come
            from, if they are no annotations), ``names`` (id -> readable name) and ``seconds`` (name -> seconds).
        paths: name -> path of what was written, printed last.
        title: names what was evaluated, such as ``800 synthetic phantoms, never trained on``.
        tables: further ones, printed after those of ``metrics``.
        console: where to; standard output when None.
    """
    shown = [*summary_tables(metrics), *tables]
    console = console or fitting_console(shown)
    if title:
        console.print(Text(title, style="bold"))
    for table in shown:
        console.print(table)
        console.print()
    for name, seconds in (metrics.get("seconds") or {}).items():
        console.print(f"{name}: {duration(seconds)}", highlight=False)
    for name, path in (paths or {}).items():
        # A path must not be wrapped, whatever the width of the terminal.
        console.print(f"{name}: {path}", markup=False, highlight=False, soft_wrap=True)


def summary_tables(metrics: Metrics) -> list[Table]:
    """The tables for ``metrics``, in reading order."""
    tables = []
    notes, names = (rows_are(metrics.get("pooling")), labels_are(metrics.get("labels"))), metrics.get("names") or {}
    rows = "\n".join(note for note in notes if note)
    if metrics.get("zero_shot"):
        tables.append(classification_table(metrics["zero_shot"], "Zero-shot classification", rows, names))
    if metrics.get("zero_shot_held_out"):
        tables.append(
            classification_table(
                metrics["zero_shot_held_out"],
                "Held-out findings",
                "\n".join(filter(None, ["never trained on, scored by description alone", notes[1]])),
                names,
            )
        )
    for name, measured in (metrics.get("zero_shot_by") or {}).items():
        tables.append(classification_table(measured, f"Zero-shot classification by {name}", rows, names))
    if metrics.get("fine_tuned"):
        tables.append(classification_table(metrics["fine_tuned"], "Fine-tuned classification", rows, names))
    if metrics.get("segmentation"):
        tables.append(segmentation_table(metrics["segmentation"]))
    if metrics.get("grounding"):
        tables.append(grounding_table(metrics["grounding"], names))
    if metrics.get("laterality"):
        tables.append(laterality_table(metrics["laterality"], names))
    if metrics.get("answers"):
        tables.append(answer_table(metrics["answers"], "Answers to questions about images"))
    if metrics.get("classes"):
        tables.append(class_table(metrics["classes"], "Classes of images with their texts"))
    for name, measured in (metrics.get("retrieval") or {}).items():
        tables.append(retrieval_table(measured, f"Retrieval, {name}"))
    return tables


def rows_are(pooling: Metrics | None) -> str:
    """Whether studies or images were counted; empty if every study has one image."""
    if not pooling:
        return ""
    of = f"{pooling['images']:,} images of {pooling['studies']:,} studies"
    return f"{of}, the {pooling['pool']} of each study's" if pooling["pool"] else f"{of}, each image counted"


def labels_are(origin: Metrics | None) -> str:
    """Where the labels come from, if they are no annotations; else empty."""
    return str(origin["note"]) if origin else ""


def classification_table(metrics: Metrics, title: str, caption: str = "", names: Names = NO_NAMES) -> Table:
    """AUC per finding with its counts and interval, and the mean."""
    bootstrap = metrics.get("bootstrap")
    table = _table(title, caption, "finding", "images", "present", "AUC")
    if bootstrap:
        table.add_column(f"{_percent(bootstrap['level'])} CI", justify="right")
    table.add_column("F1*", justify="right")
    elsewhere = next((name for name in metrics["macro"] if name.startswith(_F1_ELSEWHERE)), None)
    if elsewhere is not None:
        table.add_column("F1†", justify="right")
    excluded = set(metrics["excluded"])
    for label, row in metrics["labels"].items():
        cells = [readable(label, names), str(row["n"]), str(row["positives"]), number(row["auc"], 3)]
        if bootstrap:
            cells.append(interval(row.get("auc_interval"), 3))
        cells.append(number(row["f1_threshold_on_test"]))
        if elsewhere is not None:
            cells.append(number(row.get(elsewhere)))
        table.add_row(*cells, style="dim" if label in excluded else None)
    macro = metrics["macro"]
    table.add_section()
    cells = [f"mean of {macro['labels']}", "", "", number(macro.get("auc"), 3)]
    if bootstrap:
        cells.append(interval(macro.get("auc_interval"), 3))
    cells.append(number(macro.get("f1_threshold_on_test")))
    if elsewhere is not None:
        cells.append(number(macro.get(elsewhere)))
    table.add_row(*cells, style="bold")
    notes = [caption, "* highest F1; its threshold is tuned on these images"]
    if elsewhere is not None:
        notes.append(f"† at the best threshold of split {elsewhere.removeprefix(_F1_ELSEWHERE)}")
    if excluded:
        notes.append("dim: not in the mean: too few images present or absent")
    table.caption = "\n".join(note for note in notes if note)
    return table


def segmentation_table(metrics: Metrics) -> Table:
    """Overlap over all images and over those with the finding, and the share of others predicted empty."""
    table = _table(
        f"Segmentation of {metrics['label']}",
        "all images: an image without the finding counts 1 if nothing is predicted, else 0;\nIoU smoothed by a pixel",
        *("images", "number", "Dice", f"{_percent(metrics['protocol']['level'])} CI", "IoU"),
    )
    negatives = metrics["n"] - metrics["positives"]
    rows = (
        ("all", metrics["n"], "dice", "miou"),
        ("with the finding", metrics["positives"], "dice_positives", "miou_positives"),
        ("without it, share predicted empty", negatives, "negatives_empty", None),
    )
    for name, count, dice, iou in rows:
        cells = [number(metrics[dice], 3), interval(metrics.get(f"{dice}_interval"))]
        table.add_row(name, str(count), *cells, number(metrics[iou] if iou else None, 3))
    return table


def grounding_table(metrics: Metrics, names: Names = NO_NAMES) -> Table:
    """Pointing per finding beside the blind baselines, and overlap."""
    protocol = metrics["protocol"]
    rule = "a cell" if protocol["upsampling"] == "nearest" else "the pixel"
    table = _table(
        "Does attention point at the finding?",
        f"a hit: {rule} of highest attention touches the truth. Chance and the best fixed point follow the same rule "
        "without looking: the second is the one to beat. Share: how much of the image the truth covers.",
        *("finding", "images", "pointing", f"{_percent(protocol['level'])} CI", "chance", "best fixed"),
        *("share", "Dice"),
    )
    for label, row in metrics["findings"].items():
        table.add_row(*_grounding_cells(readable(label, names), row))
    table.add_section()
    for name, row in metrics["groups"].items():
        table.add_row(*_grounding_cells(name, row), style="bold")
    return table


def laterality_table(metrics: Metrics, names: Names = NO_NAMES) -> Table:
    """Left/right correctness per evidence and finding."""
    level = next(iter(metrics.values()))["level"]
    table = _table(
        "Left or right?",
        "one-sided findings that are present; majority: always choosing the more common side",
        *("evidence", "finding", "images", "correct", f"{_percent(level)} CI", "majority"),
    )
    for evidence, result in metrics.items():
        for label, row in (result.get("findings") or {}).items():
            table.add_row(*_laterality_cells(evidence, readable(label, names), row))
        table.add_row(*_laterality_cells(evidence, "all", result["all"]), style="bold")
        table.add_section()
    return table


def number(value: float | None, digits: int = 2) -> str:
    """A number with the given decimals, an en dash if undefined."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}"


def interval(ends: Any, digits: int = 2) -> str:
    """``0.91–0.97``; only an en dash if there is none."""
    return "–" if ends is None else f"{number(ends[0], digits)}–{number(ends[1], digits)}"


def _grounding_cells(name: str, row: Metrics) -> list[str]:
    blind = [number(row.get("chance")), number(row.get("best_fixed_point"))]
    overlap = [number(row.get("truth_share")), number(row.get("dice"))]
    return [name, str(row["n"]), number(row.get("pointing")), interval(row.get("pointing_interval")), *blind, *overlap]


def _laterality_cells(evidence: str, label: str, row: Metrics) -> list[str]:
    accuracy, majority = number(row["accuracy"], 3), number(row["majority"])
    return [evidence, label, str(row["n"]), accuracy, interval(row["interval"]), majority]


def _table(title: str, caption: str, *columns: str) -> Table:
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        text = position == 0 or column == "finding"
        table.add_column(column, justify="left" if text else "right", no_wrap=not text)
    return table


def _percent(level: float) -> str:
    return f"{100 * level:g} %"


def answer_table(metrics: Metrics, title: str) -> Table:
    """Accuracy per group of questions, with the baselines without the image and with other images."""
    controls: Metrics = metrics.get("controls") or {}
    baselines: Metrics = metrics.get("baselines") or {}
    names = {"category": "majority", "question": "majority*"}
    level = metrics["bootstrap"]["level"]
    columns = ["questions", "number", "correct", f"{100 * level:g} % CI", "bound", "unseen"]
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
    for place, column in enumerate([*columns, *(names[rule] for rule in baselines), *controls]):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    overall = {name: metrics[name] for name in ("overall", "open", "closed") if name in metrics}
    for name, row in {**metrics["categories"], **overall}.items():
        inside = name in metrics["categories"]
        if name == "overall":
            table.add_section()
        others = [control["categories"].get(name) if inside else control.get(name) for control in controls.values()]
        guesses = [rates.get(name) for rates in baselines.values()]
        table.add_row(
            name,
            str(row["n"]),
            _share(row["accuracy"]),
            _ends(row["interval"]),
            _share(row["bound"]),
            str(row["unseen"]),
            *(_share(guess) for guess in guesses),
            *(_share(other["accuracy"] if other else None) for other in others),
            style=None if inside else "bold",
        )
    notes = ["bound: highest possible accuracy given answers that training lacks (unseen)"]
    if baselines:
        notes.append("majority: the most common training answer of the category; * of the same question")
    table.caption = "\n".join(notes)
    return table


def class_table(metrics: Metrics, title: str) -> Table:
    """Accuracy, mean F1, and both per class."""
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
    for place, column in enumerate(("class", "pairs", "precision", "recall", "F1")):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for name, row in metrics["classes"]["classes"].items():
        if row["n"]:
            table.add_row(name, str(row["n"]), *(_share(row[key]) for key in ("precision", "recall", "f1")))
    table.add_section()
    overall = metrics["overall"]
    table.add_row("mean", str(overall["n"]), "", "", _share(metrics["classes"]["macro_f1"]), style="bold")
    notes = [f"accuracy {_share(overall['accuracy'])} ({_ends(overall['interval'])})"]
    notes += [
        f"{name}: {_share(control['overall']['accuracy'])}" for name, control in (metrics.get("controls") or {}).items()
    ]
    table.caption = "\n".join(notes)
    return table


def retrieval_table(metrics: Metrics, title: str = "Retrieval") -> Table:
    """Recall and median rank in both directions."""
    table = Table(
        title=title,
        caption=f"a candidate of the true one's score: {metrics['ties']}; in brackets what chance finds",
        title_justify="left",
        title_style="bold",
        caption_justify="left",
    )
    for place, column in enumerate(("", "queries", "candidates", "R@1", "R@5", "R@10", "median rank")):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for name in ("image_to_text", "text_to_image"):
        row = metrics[name]
        found = [f"{_share(row[f'R@{k}'])} ({_share(row[f'R@{k}_chance'])})" for k in (1, 5, 10)]
        cells = [str(row["queries"]), str(row["candidates"]), *found, f"{row['median_rank']:g}"]
        table.add_row(name.replace("_", " "), *cells)
    return table


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _ends(interval: Any) -> str:
    return "–" if interval is None else f"{_share(interval[0])}–{_share(interval[1])}"
