"""Renders the page: one or two results folders to one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medvlp_toolkit as mv
from medvlp_toolkit.evaluation.report import charts, overview
from medvlp_toolkit.evaluation.report.gallery import gallery
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.evaluation.results.tables import duration, interval, labels_are, number
from medvlp_toolkit.evaluation.statistics.comparison import compare_results

#: The page is kept below this, in bytes; the gallery gives way.
LARGEST = 25_000_000

Metrics = Mapping[str, Any]


def write_report(
    results: Path | str,
    out: Path | str,
    against: Path | str | None = None,
    images: bool = True,
    title: str | None = None,
) -> Path:
    """Write the page of a results folder.

    Args:
        results: folder that an evaluation wrote.
        out: the HTML file.
        against: another results folder of the same images, to compare with.
        images: False leaves out images and report texts.
        title: of the page; the evaluation's own when None.

    Raises:
        ResultsError: for a folder that holds no results, or two that cannot be compared.
    """
    first = Results.read(results)
    second = None if against is None else Results.read(against)
    names = (str(results), str(against))
    page = render(first, second, images=images, title=title, names=names)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def render(
    first: Results,
    second: Results | None = None,
    *,
    images: bool = True,
    title: str | None = None,
    names: tuple[str, str] = ("the results", "the other results"),
) -> str:
    """The page as text; arguments as for :func:`write_report`."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("medvlp_toolkit.evaluation.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": _or_dash(number),
        "interval": _or_dash(interval),
        "signed": _or_dash(_signed),
        "duration": duration,
        "readable": _readable,
    }
    templates = resources.files("medvlp_toolkit.evaluation.report") / "templates"
    both = [first] if second is None else [first, second]
    context = {
        "style": (templates / "style.css").read_text(encoding="utf-8"),
        "script": (templates / "script.js").read_text(encoding="utf-8"),
        "version": mv.__version__,
        "title": title or first.run.get("title") or "Evaluation",
        "runs": [_run(result) for result in both],
        "shown_names": [_name(result, which) for which, result in enumerate(both)],
        "images": first.scores.num_rows,
        "patients": len(set(first.scores["patient_id"].to_pylist())),
        "sentence": overview.sentence(
            first.metrics, first.scores.num_rows, len(set(first.scores["patient_id"].to_pylist()))
        ),
        "label_notes": {labels_are(result.metrics.get("labels")): None for result in both},
        "figures": [overview.key_figures(result.metrics) for result in both],
        "cautions": [overview.cautions(result.metrics) for result in both],
        "comparison": None if second is None else compare_results(second, first, names=(names[1], names[0])),
        "classifications": _classifications(both),
        "subgroups": _subgroups(both),
        "grounding": [result.metrics.get("grounding") for result in both],
        "segmentation": [result.metrics.get("segmentation") for result in both],
        "laterality": [result.metrics.get("laterality") for result in both],
        "probes": [result.metrics.get("probes") for result in both],
        "charts": charts,
        "with_images": images,
    }
    context["galleries"] = []
    page = environment.get_template("page.html.j2").render(context)
    if images:
        budget = LARGEST - len(page.encode()) - 500_000
        context["galleries"] = [_gallery(result, budget // len(both)) for result in both]
        page = environment.get_template("page.html.j2").render(context)
    return page


def _gallery(results: Results, budget: int) -> dict[str, Any]:
    thresholds = {
        label: (row.get("operating_point") or {}).get("threshold")
        for key in overview.CLASSIFICATIONS
        for label, row in (results.metrics.get(key) or {}).get("labels", {}).items()
    }
    cases, left_out = gallery(results.cases, thresholds, budget=max(budget, 0))
    findings = list(dict.fromkeys(case["finding"] for case in cases))
    return {"cases": cases, "left_out": left_out, "findings": findings}


def _name(results: Results, which: int) -> str:
    """A short name for the legend of a comparison."""
    checkpoint = (results.run.get("hashes") or {}).get("checkpoint") or ""
    return f"{'AB'[which]}: {results.run.get('checkpoint') or 'model'} {checkpoint[:7]}".strip()


def _run(results: Results) -> dict[str, Any]:
    run = results.run
    return {
        "bundle": run.get("bundle") or "not recorded",
        "title": run.get("title") or "",
        "hashes": dict.fromkeys(("checkpoint", "config", "data_split")) | (run.get("hashes") or {}),
        "checkpoint": run.get("checkpoint") or "not recorded",
        "versions": run.get("versions") or {},
        "device": run.get("device") or "not recorded",
        "time": run.get("time") or "not recorded",
        "seconds": run.get("seconds") or {},
        "config": run.get("config") or {},
        "studies": run.get("studies"),
        "splits": sorted({str(name) for name in results.scores["split"].to_pylist() if name is not None}),
    }


def _classifications(both: Sequence[Results]) -> list[dict[str, Any]]:
    """Per block of metrics: its rows with curves drawn from the scores."""
    blocks = []
    for key, title in overview.CLASSIFICATIONS.items():
        metrics = [result.metrics.get(key) or {} for result in both]
        if not (metrics[0].get("labels")):
            continue
        labels = {}
        for label, row in metrics[0]["labels"].items():
            rows = [row] + [m.get("labels", {}).get(label) for m in metrics[1:]]
            labels[label] = {"rows": rows, **_curves(both, label, rows)}
        split = next(
            (row["operating_point"]["split"] for row in metrics[0]["labels"].values() if row.get("operating_point")),
            None,
        )
        blocks.append(
            {
                "key": key,
                "title": title,
                "metrics": metrics,
                "labels": labels,
                "threshold_split": split,
                "low": _axis_start(metrics),
            }
        )
    return blocks


def _axis_start(blocks: Sequence[Metrics]) -> float:
    """A round number below every AUC and interval, and below chance."""
    rows = [row for block in blocks for row in block.get("labels", {}).values()]
    ends = [end for row in rows for end in (row.get("auc_interval") or ())]
    return float(np.floor(10 * min([0.4, *ends, *(row["auc"] for row in rows if row.get("auc") is not None)])) / 10)


def _curves(both: Sequence[Results], label: str, rows: Sequence[Metrics | None]) -> dict[str, str | None]:
    drawn: dict[str, str | None] = {"roc": None, "precision_recall": None, "reliability": None}
    roc, precision, bins = [], [], []
    name = _readable(label)
    prevalence = None
    for which, (result, row) in enumerate(zip(both, rows, strict=True), start=1):
        if row is None or label not in result.labels:
            continue
        truth, score = _scores(result, label)
        if row.get("auc") is not None and 0 < truth.sum() < len(truth):
            roc.append(charts.roc(truth, score, which))
            precision.append(charts.precision_recall(truth, score, which))
            prevalence = float(truth.mean()) if prevalence is None else prevalence
        if row.get("reliability"):
            bins.append(row["reliability"])
    if roc:
        aucs = ", ".join(number(row["auc"], 3) for row in rows if row)
        drawn["roc"] = charts.square_chart(
            roc, "1 − specificity", "sensitivity", f"ROC curve of {name}, area {aucs}", diagonal=True
        )
        average = ", ".join(number(row["average_precision"], 3) for row in rows if row)
        drawn["precision_recall"] = charts.square_chart(
            precision,
            "sensitivity (recall)",
            "precision",
            f"Precision-recall curve of {name}, average precision {average}, prevalence {number(prevalence, 3)}",
            level=prevalence,
        )
    if bins:
        errors = ", ".join(number(row.get("ece"), 3) for row in rows if row)
        drawn["reliability"] = charts.reliability_chart(
            bins, f"Calibration of {name}: observed share against probability, expected calibration error {errors}"
        )
    return drawn


def _scores(results: Results, label: str) -> tuple[NDArray[Any], NDArray[Any]]:
    truth = results.scores[f"target:{label}"].to_numpy()
    score = results.scores[f"score:{label}"].to_numpy()
    known = truth >= 0
    return truth[known], score[known]


def _subgroups(both: Sequence[Results]) -> list[dict[str, Any]]:
    first = both[0].metrics.get("subgroups") or {}
    others = [result.metrics.get("subgroups") or {} for result in both[1:]]
    groups = []
    for name, values in first.items():
        rows = {value: [row, *(other.get(name, {}).get(value) for other in others)] for value, row in values.items()}
        found = [row["auc"] for row in values.values() if row["auc"] is not None]
        ends = [end for row in values.values() for end in (row["auc_interval"] or ())]
        low = float(np.floor(10 * min([*found, *ends, 0.9])) / 10)
        groups.append({"name": name, "rows": rows, "labels": list(next(iter(values.values()))["labels"]), "low": low})
    return groups


def _or_dash(write: Callable[..., str]) -> Callable[..., str]:
    """A filter that writes an en dash for what the metrics do not have, such as intervals without a bootstrap."""
    return lambda value, *options: "–" if value is None or not _is_there(value) else write(value, *options)


def _is_there(value: object) -> bool:
    from jinja2 import Undefined

    return not isinstance(value, Undefined)


def _signed(value: float, digits: int = 3) -> str:
    """A difference with its sign; no sign if it rounds to zero."""
    text = number(value, digits)
    if float(text) == 0:
        return text.lstrip("-")
    return f"−{text[1:]}" if value < 0 else f"+{text}"


def _readable(name: object) -> str:
    """A label or id in readable form."""
    return str(name).replace("_", " ")
