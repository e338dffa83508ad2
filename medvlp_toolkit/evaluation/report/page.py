"""Renders the page: one or two results folders to one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import medvlp_toolkit as mv
from medvlp_toolkit.evaluation.maps.overlays import STRONGEST
from medvlp_toolkit.evaluation.report import overview
from medvlp_toolkit.evaluation.report.gallery import gallery
from medvlp_toolkit.evaluation.report.parts import Models, Section, at, figure, readable, rows_at, showing, significant
from medvlp_toolkit.evaluation.report.sections.attention import grounding, laterality
from medvlp_toolkit.evaluation.report.sections.classification import CLASSIFICATIONS, classification, threshold_split
from medvlp_toolkit.evaluation.report.sections.comparison import comparison
from medvlp_toolkit.evaluation.report.sections.pairs import answers, classes, retrieval
from medvlp_toolkit.evaluation.report.sections.pretraining import pretraining
from medvlp_toolkit.evaluation.report.sections.probes import probes
from medvlp_toolkit.evaluation.report.sections.segmentation import segmentation
from medvlp_toolkit.evaluation.report.sections.subgroups import subgroups
from medvlp_toolkit.evaluation.report.tasks import measured, row_noun, same_task
from medvlp_toolkit.evaluation.report.verdicts import tone
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.evaluation.results.tables import labels_are
from medvlp_toolkit.files import write_whole
from medvlp_toolkit.images.picture_colours import BOX
from medvlp_toolkit.progress import duration

#: The page is kept below this, in bytes; the gallery gives way.
LARGEST = 25_000_000

#: Sections in the page's order, each where its part of the metrics is there.
_SECTIONS = (
    segmentation,
    classification,
    answers,
    classes,
    retrieval,
    pretraining,
    subgroups,
    grounding,
    laterality,
    probes,
)


def write_report(
    results: Path | str,
    out: Path | str,
    against: Path | str | None = None,
    images: bool = True,
    title: str | None = None,
    names: tuple[str, str] | None = None,
) -> Path:
    """Write the page of a results folder. An earlier page stays until the new one is complete.

    Args:
        results: folder that an evaluation wrote.
        out: the HTML file.
        against: another results folder of the same images, to compare with.
        images: False leaves out images and report texts.
        title: of the page; the evaluation's own when None.
        names: of the two models that are compared; A and B when None.

    Raises:
        ResultsError: for a folder that holds no results or none that a page shows, or two that cannot be compared.
        ValueError: for names where nothing is compared, and names that do not tell the models apart.
        OSError: when the page cannot be written.
    """
    if names is not None and against is None:
        raise ValueError("names are given to the two models of a comparison; give the other results too (against)")
    if names is not None and (names[0] == names[1] or not all(name.strip() for name in names)):
        raise ValueError(f"two different names are needed to tell the models apart, got {names[0]!r} and {names[1]!r}")
    first = Results.read(results)
    second = None if against is None else Results.read(against)
    folders = (str(results), str(against))
    page = render(first, second, images=images, title=title, folders=folders, names=names)
    return write_whole(out, lambda file: file.write(page.encode()))


def render(
    first: Results,
    second: Results | None = None,
    *,
    images: bool = True,
    title: str | None = None,
    folders: tuple[str, str] = ("the results", "the other results"),
    names: tuple[str, str] | None = None,
) -> str:
    """The page as text; arguments as for :func:`write_report`, and ``folders``: what messages call the results."""
    models = _models([first] if second is None else [first, second], folders, names)
    with showing(_entity_names(*models.results)):
        return _rendered(models, images, title, folders)


def _rendered(models: Models, images: bool, title: str | None, folders: tuple[str, str]) -> str:
    first = models.results[0]
    noun = row_noun(first)
    patients = len(set(first.scores["patient_id"].to_pylist()))
    facts = [overview.counted(first.scores.num_rows, noun)]
    facts += [overview.counted(patients, "patient")] if noun != "text" else []
    sections = comparison(models, folders) + [section for make in _SECTIONS for section in make(models)]
    context = {
        "style": _template("style.css"),
        "script": _template("script.js"),
        "heat": STRONGEST,
        "box": BOX,
        "version": mv.__version__,
        "title": title or first.run.get("title") or "Evaluation",
        "models": models,
        "runs": [_run(result) for result in models.results],
        "facts": facts,
        "sentence": overview.sentence(first.metrics, first.scores.num_rows, noun, patients),
        "label_notes": {labels_are(result.metrics.get("labels")): None for result in models.results},
        "figures": [overview.key_figures(result.metrics) for result in models.results],
        "cautions": [overview.cautions(result.metrics) for result in models.results],
        "sections": sections,
        "classified": any(at(result.metrics, key) for result in models.results for key in CLASSIFICATIONS),
        "with_images": images,
        "galleries": [],
    }
    context["sides"] = _sides(sections, images and any(result.cases is not None for result in models.results))
    template = _environment().get_template("page.html.j2")
    page = template.render(context)
    if images:
        budget = LARGEST - len(page.encode()) - 500_000
        shown = len(models.results)
        context["galleries"] = [_gallery(result, budget // shown) for result in models.results]
        page = template.render(context)
    return page


@lru_cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medvlp_toolkit.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": _duration, "readable": readable, "significant": significant, "tone": tone}
    return environment


def _template(name: str) -> str:
    folder = resources.files("medvlp_toolkit.evaluation.report") / "templates"
    return (folder / name).read_text(encoding="utf-8")


def _models(given: list[Results], folders: tuple[str, str], names: tuple[str, str] | None) -> Models:
    results = tuple(measured(result, name) for result, name in zip(given, folders, strict=False))
    if len(results) == 1:
        return Models(results, ("",), ("",))
    same_task(results, folders)
    if names is not None:
        return Models(results, names, names)
    return Models(results, ("A", "B"), tuple(_name(result, which) for result, which in zip(results, "AB", strict=True)))


def _sides(sections: list[Section], cases: bool) -> str:
    """Id of the first section in which left and right count: there the page says, once, which is which."""
    return next((s.id for s in sections if s.id in ("grounding", "laterality", "probes")), "cases" if cases else "")


def _gallery(results: Results, budget: int) -> dict[str, Any]:
    blocks = [at(results.metrics, key, default={}) for key in CLASSIFICATIONS]
    thresholds = {
        label: figure(at(row, "operating_point"), "threshold")
        for block in blocks
        for label, row in rows_at(block, "labels").items()
    }
    cases, left_out = gallery(results.cases, thresholds, max(budget, 0), _entity_names(results))
    findings = list(dict.fromkeys(case["finding"] for case in cases))
    split = next((split for block in blocks if (split := threshold_split(block))), None)
    return {"cases": cases, "left_out": left_out, "findings": findings, "threshold_split": split}


def _name(results: Results, which: str) -> str:
    """A short name for the legend of a comparison."""
    checkpoint = str(at(results.run, "hashes", "checkpoint", default=""))
    return f"{which}: {results.run.get('checkpoint') or 'model'} {checkpoint[:7]}".strip()


def _run(results: Results) -> dict[str, Any]:
    run = results.run
    recorded = {name: run.get(name) or "not recorded" for name in ("bundle", "checkpoint", "device", "time")}
    hashes = {name: at(run, "hashes", name, default="") for name in ("checkpoint", "config", "data_split")}
    mappings = {name: _mapping(run.get(name)) for name in ("versions", "seconds", "config")}
    splits = sorted({str(name) for name in results.scores["split"].to_pylist() if name is not None})
    return {**recorded, "hashes": hashes, **mappings, "rows": results.scores.num_rows, "splits": splits}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _entity_names(*results: Results) -> dict[str, str]:
    """Id -> name, as the evaluations wrote them."""
    return {id_: name for result in results for id_, name in at(result.metrics, "names", default={}).items()}


def _duration(seconds: Any) -> str:
    return duration(seconds) if isinstance(seconds, int | float) else str(seconds)
