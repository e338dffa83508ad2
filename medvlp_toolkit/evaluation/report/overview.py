"""The page's summary in words: one sentence on the result, the few figures that count, and cautions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medvlp_toolkit.evaluation.report.parts import at, ends, figure, level_of, readable, rows_at
from medvlp_toolkit.evaluation.report.sections.attention import fixed_point_verdict
from medvlp_toolkit.evaluation.report.sections.classification import CLASSIFICATIONS
from medvlp_toolkit.evaluation.report.sections.pairs import GUESSING, WITHOUT_LOOKING, guess, retrieved
from medvlp_toolkit.evaluation.report.sections.segmentation import drawn, empty_share
from medvlp_toolkit.evaluation.report.verdicts import mean_of, verdict
from medvlp_toolkit.evaluation.results.tables import interval, number

Metrics = Mapping[str, Any]

_POOR_AUC = 0.7
_POOR_CALIBRATION = 0.1


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the figures at the top of the page."""

    name: str
    value: str
    detail: str
    verdict: str = ""


def key_figures(metrics: Metrics) -> list[Tile]:
    """The few figures at the top of the page, each with its verdict."""
    return [
        *_segmentation(metrics),
        *_classification(metrics),
        *_attention(metrics),
        *_pairs(metrics),
        *_retrieval(metrics),
        *_pretraining(metrics),
    ]


def _classification(metrics: Metrics) -> Iterator[Tile]:
    for key in CLASSIFICATIONS:
        macro = mean_of(at(metrics, key))
        if figure(macro, "auc") is not None:
            mean = f"mean of {counted(at(macro, 'labels', default=0), 'finding')}"
            name = "Mean AUC" if key != "zero_shot_held_out" else "Mean AUC, findings kept out of training"
            detail = f"{_between(at(metrics, key), ends(macro, 'auc_interval'))} · {mean}"
            yield Tile(name, number(figure(macro, "auc"), 3), detail, verdict(macro, "auc", 0.5))


def _attention(metrics: Metrics) -> Iterator[Tile]:
    groups = rows_at(metrics, "grounding", "groups")
    which = next((name for name in ("focal", "all") if figure(groups.get(name), "pointing") is not None), None)
    if which is not None:
        row = groups[which]
        detail = f"{which} findings, {counted(at(row, 'n', default=0), 'image')}"
        detail += f" · best fixed point {number(figure(row, 'best_fixed_point'))}"
        yield Tile("Attention points at it", number(figure(row, "pointing")), detail, fixed_point_verdict(row))
    for evidence, result in rows_at(metrics, "laterality").items():
        row = at(result, "all", default={})
        if figure(row, "n"):
            detail = f"by {evidence}, {row['n']:,} one-sided findings · guessing {number(figure(row, 'majority'))}"
            said = verdict(row, "accuracy", figure(row, "majority"))
            yield Tile("Left or right", number(figure(row, "accuracy"), 3), detail, said)
            break


def _segmentation(metrics: Metrics) -> Iterator[Tile]:
    block = at(metrics, "segmentation")
    if not block:
        return
    shown, label = figure(block, "positives"), readable(at(block, "label", default="the finding"))
    if figure(block, "dice_positives") is not None:
        detail = f"{_between(block, ends(block, 'dice_positives_interval'))} · {counted(int(shown or 0), 'image')}"
        detail += f" with {label}"
        yield Tile(
            "Dice where it is there", number(figure(block, "dice_positives"), 3), detail, drawn(block, "dice_positives")
        )
    if figure(block, "dice") is not None:
        detail = f"{_between(block, ends(block, 'dice_interval'))} · {counted(at(block, 'n', default=0), 'image')}"
        detail += f" · drawing nothing {number(empty_share(block), 3)}"
        yield Tile("Dice, all images", number(figure(block, "dice"), 3), detail, drawn(block, "dice"))
    if figure(block, "negatives_empty") is not None:
        detail = f"{_between(block, ends(block, 'negatives_empty_interval'))} · images without it"
        yield Tile("Left empty where it is not", number(figure(block, "negatives_empty"), 3), detail)


def _pairs(metrics: Metrics) -> Iterator[Tile]:
    for key, noun, than in (("answers", "question", WITHOUT_LOOKING), ("classes", "pair", GUESSING)):
        block = at(metrics, key)
        row = at(block, "overall")
        if figure(row, "accuracy") is None:
            continue
        best = guess(block, "overall")
        detail = f"{_between(block, ends(row, 'interval'))} · {counted(at(row, 'n', default=0), noun)}"
        detail += f" · {than} {number(best, 3)}" if best is not None else ""
        name = "Answers that are right" if key == "answers" else "Classes that are right"
        yield Tile(name, number(figure(row, "accuracy"), 3), detail, verdict(row, "accuracy", best))


def _retrieval(metrics: Metrics) -> Iterator[Tile]:
    for way, measured in rows_at(metrics, "retrieval").items():
        for key, name in (("image_to_text", "Text found for an image"), ("text_to_image", "Image found for a text")):
            row = at(measured, key, default={})
            if figure(row, "R@1") is not None:
                detail = f"R@1, {_between(measured, ends(row, 'R@1_interval'))}"
                detail += f" · chance {number(figure(row, 'R@1_chance'), 3)} · {way}"
                yield Tile(name, number(figure(row, "R@1"), 3), detail, retrieved(row))
        break


def _pretraining(metrics: Metrics) -> Iterator[Tile]:
    trained = figure(at(metrics, "probe", "trained"), "mean_auc")
    if trained is not None:
        untrained = number(figure(at(metrics, "probe", "untrained"), "mean_auc"), 3)
        detail = f"AUC of a linear probe, mean over labels · untrained {untrained}"
        yield Tile("Features tell findings apart", number(trained, 3), detail)


def _between(block: Any, bounds: Any) -> str:
    return f"{level_of(block)} {interval(bounds, 3)}"


def sentence(metrics: Metrics, rows: int, noun: str, patients: int) -> str:
    """Explains the headline figure to a reader who does not know the measure."""
    pooling = at(metrics, "pooling", default={})
    total = counted(rows, noun)
    if at(pooling, "pool"):
        images, studies = counted(at(pooling, "images", default=0), "image"), at(pooling, "studies", default=0)
        total = f"{studies:,} studies ({images}, the {pooling['pool']} of each study's)"
    summary = f"{total} of {counted(patients, 'patient')}." if noun != "text" else f"{total}."
    return f"{summary} {next(_explained(metrics), '')}".rstrip()


def _explained(metrics: Metrics) -> Iterator[str]:
    dice = figure(at(metrics, "segmentation"), "dice_positives")
    if dice is not None:
        yield f"Where the finding is, predicted and true outline overlap by a Dice of {number(dice, 3)} (1 is perfect)."
    for key in ("zero_shot", "fine_tuned", "from_scores", "zero_shot_held_out"):
        macro = at(metrics, key, "macro")
        if figure(macro, "auc") is not None:
            yield (
                f"Of two images, one with a finding and one without it, the model scores the right one higher in "
                f"{100 * macro['auc']:.1f} % of cases, on average over "
                f"{counted(at(macro, 'labels', default=0), 'finding')} (50 % is chance)."
            )
    for key, what in (("answers", "answers are"), ("classes", "classes are")):
        accuracy, best = figure(at(metrics, key, "overall"), "accuracy"), guess(at(metrics, key), "overall")
        if accuracy is not None:
            beside = f"; guessing without looking gives {100 * best:.1f} %" if best is not None else ""
            yield f"{100 * accuracy:.1f} % of the {what} right{beside}."
    for measured in rows_at(metrics, "retrieval").values():
        row = at(measured, "image_to_text", default={})
        if figure(row, "R@1") is not None:
            yield (
                f"Shown an image, the model ranks a text about it first in {100 * row['R@1']:.1f} % of cases "
                f"(chance {100 * (figure(row, 'R@1_chance') or 0):.1f} %)."
            )


def cautions(metrics: Metrics) -> list[str]:
    """Cautions for the reader, the most serious first."""
    found: list[str] = []
    for key, (title, _) in CLASSIFICATIONS.items():
        found += _classification_cautions(at(metrics, key, default={}), title)
    found += _grounding_cautions(metrics)
    found += [f"Probe: {text}" for text in at(metrics, "probes", "cautions", default=[])]
    found += _other_cautions(metrics)
    return found


def _classification_cautions(block: Any, title: str) -> Iterator[str]:
    rows = rows_at(block, "labels")
    judged = {label: row for label, row in rows.items() if figure(row, "auc") is not None}
    bounds = {label: ends(row, "auc_interval") for label, row in judged.items() if at(row, "few") is not True}
    chance = [label for label, between in bounds.items() if between and between[0] <= 0.5 <= between[1]]
    below = [label for label, between in bounds.items() if between and between[1] < 0.5]
    poor = [label for label in bounds if judged[label]["auc"] < _POOR_AUC and label not in chance + below]
    few = [label for label in at(block, "few", default=[]) if label in judged]
    excluded = at(block, "excluded", default=[])
    if below:
        yield f"{title}: {_names(below)} scored worse than chance."
    if chance:
        yield f"{title}: {_names(chance)} cannot be distinguished from chance."
    if poor:
        yield f"{title}: {_names(poor)} ranked poorly (AUC below {_POOR_AUC})."
    if excluded:
        yield f"{title}: {_names(excluded)} not in the mean: too few images present or absent."
    if few:
        yield f"{title}: {_names(few)} rest on fewer than 10 images present or absent."
    crooked = [label for label, row in judged.items() if (figure(row, "ece") or 0) > _POOR_CALIBRATION]
    if crooked:
        yield f"{title}: probabilities of {_names(crooked)} are off by more than 10 points on average."


def _grounding_cautions(metrics: Metrics) -> Iterator[str]:
    blind = []
    for label, row in rows_at(metrics, "grounding", "findings").items():
        pointing, fixed = figure(row, "pointing"), figure(row, "best_fixed_point")
        if pointing is not None and fixed is not None and pointing <= fixed:
            blind.append(label)
    if blind:
        yield f"Attention points at {_names(blind)} no better than one fixed point in every image."


def _other_cautions(metrics: Metrics) -> Iterator[str]:
    for tile in (*_segmentation(metrics), *_pairs(metrics), *_retrieval(metrics)):
        if tile.verdict.startswith(("not better", "worse")):
            yield f"{tile.name}: {tile.verdict}."
    for name, control in rows_at(metrics, "answers", "controls").items():
        without, seen = (
            figure(at(control, "overall"), "accuracy"),
            figure(at(metrics, "answers", "overall"), "accuracy"),
        )
        if without is not None and seen is not None and without >= seen:
            yield f"Answers are no better with the right image than with {name}: the images are not used."


def _names(labels: list[str], most: int = 8) -> str:
    shown = [readable(label) for label in labels[:most]]
    if len(labels) > most:
        return f"{', '.join(shown)} and {len(labels) - most} more"
    return ", ".join(shown[:-1]) + f" and {shown[-1]}" if len(shown) > 1 else shown[0]


def counted(number: int, noun: str) -> str:
    """``1 image``, ``1,200 images``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
