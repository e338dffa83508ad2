"""The printed tables of answers, of classes of pairs, and of retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

Metrics = Mapping[str, Any]


def answer_table(metrics: Metrics, title: str) -> Table:
    """Accuracy per group of questions, beside answering without looking and with other images."""
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
    notes = ["bound: what answers that training lacks (unseen) leave possible"]
    if baselines:
        notes.append("majority: the commonest training answer of the category; * of the very same question")
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
    """Recall and median rank both ways."""
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
