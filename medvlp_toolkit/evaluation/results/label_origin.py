"""Where an evaluation's labels come from, where they are no annotations."""

from __future__ import annotations

from typing import Any

import medvlp_toolkit as mv
from medvlp_toolkit.data.batches.dataset import StudyDataset


def label_origin(dataset: Any) -> dict[str, str] | None:
    """What ``metrics.json`` and ``run.json`` say of labels that a report filter read from the reports.

    None for a data set whose labels are the source's own, or that has none.
    """
    if not isinstance(dataset, StudyDataset) or dataset.reported is None or not dataset.label_names:
        return None
    made_by = dataset.store.meta["made_by"].get("report_filter") or {}
    kind = str(made_by.get("type", "a report filter"))
    filters = {ref.import_path: ref.name for ref in mv.report_filters.refs()}
    name = filters.get(kind, kind.rpartition(".")[2])
    note = f"labels derived from the reports by `{name}`, not annotations"
    if dataset.reported == "mentioned":
        note += "; findings that a report does not mention count as absent"
    return {"origin": "reports", "report_filter": name, "reported": dataset.reported, "note": note}
