"""Two models on the same images: the difference of the figures that both have, with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from medvlp_toolkit.evaluation.report.charts import interval_bar
from medvlp_toolkit.evaluation.report.parts import (
    Cell,
    Column,
    Legend,
    Models,
    Part,
    Row,
    Section,
    Table,
    Text,
    at,
    count,
    counts,
    ends,
    figure,
    level_of,
    numbers,
    readable,
    rows_at,
    signed,
)
from medvlp_toolkit.evaluation.report.tasks import row_noun
from medvlp_toolkit.evaluation.results.tables import number
from medvlp_toolkit.evaluation.statistics.comparison import compare_results, compare_shares

#: Parts of the metrics of evaluations whose table of scores ranks images by label.
_RANKED = ("zero_shot", "zero_shot_held_out", "fine_tuned", "from_scores", "grounding", "probes", "probe")
#: Tasks whose table of scores says of each row whether it is right: the column, and what is shared.
_SHARES = {"answers": ("correct", "answers that are right"), "classes": ("correct", "classes that are right")}
_SHARES |= {"retrieval": ("found", "texts whose image is ranked first")}


def comparison(models: Models, folders: tuple[str, str]) -> list[Section]:
    """The comparison of two models, none where there is one.

    Args:
        models: the first is compared with the second.
        folders: what messages call the results.

    Raises:
        ResultsError: where the two are of other images.
    """
    if not models.compared:
        return []
    parts: list[Part] = []
    shares = {key: about for key, about in _SHARES.items() if all(models.metrics(key))}
    for column, noun in shares.values():
        parts += _shares(models, compare_shares(models.results[0], models.results[1], column, names=folders), noun)
    if not shares and all(any(at(result.metrics, key) for key in _RANKED) for result in models.results):
        first, second = models.results
        parts += _ranking(models, compare_results(second, first, names=(folders[1], folders[0])))
    if not parts:
        parts = [
            Text("Figures of both stand side by side below; their intervals are of each alone, not of the difference.")
        ]
    return [Section("comparison", "Comparison", "Comparison", parts)]


def _lead(models: Models, compared: Mapping[str, Any], rest: str) -> Text:
    images = count(models.results[0].scores.num_rows)
    return Text(
        f"Both models saw the same {images} {row_noun(models.results[0])}s. Difference is {models.short[0]} − "
        f"{models.short[1]}. Intervals resample patients ({count(compared['replicates'])} times, the same draws for "
        f"both){rest}"
    )


def _range(bounds: Any, digits: int) -> str:
    return f"{signed(bounds[0], digits)} to {signed(bounds[1], digits)}" if bounds else "no interval"


def _shares(models: Models, compared: Mapping[str, Any], noun: str) -> list[Part]:
    a, b = models.short
    bounds = ends(compared, "interval")
    apart = bounds is not None and not bounds[0] <= 0 <= bounds[1]
    said = f"{a if compared['difference'] > 0 else b} is better." if apart else "The data does not distinguish the two."
    return [
        _lead(models, compared, "."),
        Legend(),
        Text(
            f" ({level_of(compared)} {_range(bounds, 4)}) of the {noun}: {number(compared['first'], 3)} and "
            f"{number(compared['second'], 3)}. {said} Right by {a} alone: {count(compared['only_first'])}; by {b} "
            f"alone: {count(compared['only_second'])}.",
            "verdict",
            signed(compared["difference"], 4),
        ),
    ]


def _ranking(models: Models, compared: Mapping[str, Any]) -> list[Part]:
    a, b = models.short
    parts: list[Part] = [
        _lead(
            models, compared, "; p is DeLong's paired test with patients clustered; Holm corrects it over the labels."
        ),
        Legend(),
    ]
    macro = compared["macro"]
    if macro["labels"]:
        p, difference = figure(macro, "p"), macro["difference"]
        apart = p is not None and p < 0.05
        said = (
            f"{a if difference > 0 else b} ranks better; chance alone would rarely show such a difference."
            if apart
            else "The data does not distinguish the two."
        )
        test = "" if p is None else f", p {'' if p < 0.001 else '= '}{_p(p)}"
        mean = f" AUC, mean over {macro['labels']} labels ({level_of(compared)} {_range(macro['interval'], 4)}){test}."
        parts.append(Text(f"{mean} {said}", "verdict", signed(difference, 4)))
    rows, reach = [], _reach(compared)
    for label, row in rows_at(compared, "labels").items():
        difference, bounds = figure(row, "difference"), ends(row, "interval")
        drawn = interval_bar([(difference, bounds)], -reach, reach, [0.0], f"difference {number(difference, 3)}")
        cells = [
            counts([row], "positives", "n"),
            numbers([row], "second"),
            numbers([row], "first"),
            Cell([(signed(difference), "")], difference, drawn if difference is not None else ""),
            Cell([(_range(bounds, 3) if bounds else "–", "")], bounds[0] if bounds else None),
            *(Cell([(_p(figure(row, key)), "")], figure(row, key)) for key in ("p", "p_holm")),
        ]
        rows.append(Row(readable(label), cells, "faint" if row["few"] else "", ["few"] if row["few"] else []))
    columns = [
        *(
            Column("Present"),
            Column(a),
            Column(b),
            Column("Difference", "bar", small=f"axis ±{reach:g}"),
            Column(level_of(compared)),
        ),
        *(Column("p"), Column("p (Holm)")),
    ]
    parts.append(Table("Difference of the AUC per finding", columns, rows, "Finding"))
    alone = at(compared, "only_first", default=[]) + at(compared, "only_second", default=[])
    if alone:
        listed = ", ".join(map(readable, alone))
        parts.append(Text(f"Not compared, as only one of the two has them: {listed}.", "note"))
    return parts


def _reach(compared: Mapping[str, Any]) -> float:
    """A round number that no difference and no end of an interval passes."""
    rows = rows_at(compared, "labels").values()
    values = [abs(value) for row in rows for value in (figure(row, "difference") or 0, *(ends(row, "interval") or ()))]
    return math.ceil(10 * max(values, default=0.1)) / 10 or 0.1


def _p(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else number(p, 3)
