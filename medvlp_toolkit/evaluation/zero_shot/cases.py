"""Cases to review: for every finding, the model's most confident hits and errors.

A results folder stores them in one file, ``cases.parquet``: images, maps and the report's statements. They are patient
data; an evaluation can be configured to keep none.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.boxes import AnyBox, corners
from medvlp_toolkit.data.records import Finding
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.heat_maps import Upsampling
from medvlp_toolkit.evaluation.maps.overlays import displayed, grey
from medvlp_toolkit.evaluation.maps.volume_slices import no_map, overlay_of
from medvlp_toolkit.evaluation.zero_shot.measure import Measure, ScoredBatch, ScoredSet
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies

if TYPE_CHECKING:
    import pyarrow as pa

#: ``found``: present with the highest scores; ``missed``: present, with the lowest; ``claimed``: absent, highest.
Kind = Literal["found", "missed", "claimed"]
KINDS: tuple[Kind, ...] = ("found", "missed", "claimed")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One finding in one image.

    ``finding`` is the label, ``entity`` its entity in the model and in the report's findings; ``image`` (H, W), or
    (1 or 3, H, W); ``heat`` (h, w) on the token grid, for :func:`~medvlp_toolkit.evaluation.upsample` with
    ``upsampling`` and ``shift``; ``boxes`` the truth; ``text`` the report, into which the spans of ``findings`` point;
    ``note`` the rest of a caption.
    """

    finding: str
    entity: str
    kind: Kind
    score: float
    image: NDArray[Any]
    heat: NDArray[np.floating] | None = None
    boxes: Sequence[AnyBox] = ()
    text: str = ""
    findings: Sequence[Finding] = ()
    note: str = ""
    upsampling: Upsampling = "nearest"
    shift: Sequence[float] = ()


@dataclass
class SurestCases:
    """Keeps the few most confident cases of every finding and kind.

    Args:
        each: number of cases of every finding and kind; 0 keeps none.
    """

    each: int
    _kept: dict[tuple[str, Kind], list[tuple[float, int, Any]]] = field(default_factory=dict)
    _offered: int = 0

    def wanted(self, finding: str, target: int, score: float) -> Iterator[Kind]:
        """The kinds for which this image is among the most confident so far."""
        kinds: tuple[Kind, ...] = ("found", "missed") if target == 1 else ("claimed",) if target == 0 else ()
        for kind in kinds if self.each > 0 else ():
            kept = self._kept.get((finding, kind), [])
            if len(kept) < self.each or _sureness(kind, score) > kept[0][0]:
                yield kind

    def keep(self, finding: str, kind: Kind, score: float, payload: Any) -> None:
        """Keep a wanted image, replacing the least confident one."""
        kept = self._kept.setdefault((finding, kind), [])
        self._offered += 1
        # Of equal scores the first one is kept.
        entry = (_sureness(kind, score), -self._offered, payload)
        if len(kept) < self.each:
            heapq.heappush(kept, entry)
        else:
            heapq.heapreplace(kept, entry)

    def chosen(self) -> Iterator[tuple[str, Kind, Any]]:
        """Finding, kind and payload: findings in order of arrival, kinds in order, the most confident first.

        An image among both the highest and the lowest of a finding's few positives is listed only with the highest.
        """
        for finding in dict.fromkeys(finding for finding, _ in self._kept):
            listed: set[int] = set()
            for kind in KINDS:
                for _, _, payload in sorted(
                    self._kept.get((finding, kind), []), key=lambda entry: entry[:2], reverse=True
                ):
                    if payload["row"] not in listed:
                        listed.add(payload["row"])
                        yield finding, kind, payload


class Cases(Measure):
    """The measure that writes ``cases.parquet``, which contains patients' images and reports.

    Args:
        each: number of cases of every finding and kind; 0 keeps no patient's image or text.
        upsampling: of the maps (:func:`~medvlp_toolkit.evaluation.upsample`).
    """

    def __init__(self, each: int = 3, upsampling: Upsampling = "nearest") -> None:
        self.each = each
        self.upsampling: Upsampling = upsampling

    def begin(self, studies: EvaluatedStudies, mapper: HeatMapper) -> None:
        super().begin(studies, mapper)
        self._surest = SurestCases(self.each)

    def collect(self, batch: ScoredBatch) -> None:
        labels = list(self.studies.labels)
        targets = self.studies.targets(batch.rows, labels) if self.each else None
        if targets is None:
            return
        for column, label in enumerate(labels):
            q = self.studies.column_of(label)
            for i, row in enumerate(batch.rows.tolist()):
                score = float(batch.scores[i, q])
                wanted = self._surest.wanted(label, int(targets[i, column]), score)
                for kind in wanted if self.studies.is_evaluated(row) else ():
                    heat = None if batch.maps is None else batch.maps[i, q].copy()
                    self._surest.keep(label, kind, score, {"row": row, "score": score, "heat": heat})

    def finish(self, scored: ScoredSet) -> dict[str, Any]:
        if self.studies.store.has_images:
            cases = [self._case(finding, kind, **payload) for finding, kind, payload in self._surest.chosen()]
            scored.cases = case_table(cases) if cases else None
        return {}

    def _case(self, finding: str, kind: Kind, row: int, score: float, heat: Any) -> Case:
        store = self.studies.store
        truth = self.studies.truth(row, finding) if kind != "claimed" else None
        image, shift = np.asarray(store.images[row]), () if heat is None else self.mapper.shift
        affine = self.studies.affine_of(row)
        overlay = overlay_of(image, no_map(image) if heat is None else heat, finding, score, truth, shift, affine)
        heat = None if heat is None else overlay.heat
        text = store.studies.column("text")[row].as_py() or ""
        return Case(
            finding,
            self.studies.labels[finding],
            kind,
            score,
            overlay.image,
            heat,
            overlay.boxes,
            text,
            store.findings_of(row) if text else [],
            overlay.note,
            self.upsampling,
            tuple(overlay.shift),
        )


def case_table(cases: Sequence[Case]) -> pa.Table:
    """The table of ``cases.parquet``, one row per case; images as 8-bit PNG. It has no ids or names."""
    import pyarrow as pa

    box = pa.struct([(name, pa.float32()) for name in ("x", "y", "width", "height")])
    mark = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("entity", pa.string()), ("presence", pa.string())])
    schema = pa.schema(
        [
            ("finding", pa.string()),
            ("entity", pa.string()),
            ("kind", pa.string()),
            ("score", pa.float32()),
            ("image", pa.binary()),
            ("heat", pa.list_(pa.float32())),
            ("grid", pa.list_(pa.int32())),
            ("boxes", pa.list_(box)),
            ("text", pa.string()),
            ("marks", pa.list_(mark)),
            ("note", pa.string()),
            ("upsampling", pa.string()),
            ("shift", pa.list_(pa.float32())),
        ]
    )
    rows = [
        {
            "finding": case.finding,
            "entity": case.entity,
            "kind": case.kind,
            "score": case.score,
            "image": _png(case.image),
            "heat": None if case.heat is None else case.heat.ravel().tolist(),
            "grid": None if case.heat is None else list(case.heat.shape),
            "boxes": [dict(zip(("x", "y", "width", "height"), corners(box), strict=True)) for box in case.boxes],
            "text": case.text,
            "marks": [
                {"start": f.span[0], "end": f.span[1], "entity": f.entity, "presence": f.presence}
                for f in case.findings
                if f.span is not None
            ],
            "note": case.note,
            "upsampling": case.upsampling,
            "shift": list(case.shift),
        }
        for case in cases
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _sureness(kind: Kind, score: float) -> float:
    return -score if kind == "missed" else score


def _png(image: NDArray[Any]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(displayed(grey(image))).save(stream, "PNG")
    return stream.getvalue()
