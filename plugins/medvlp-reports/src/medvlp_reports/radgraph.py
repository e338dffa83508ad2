"""The ``radgraph`` report filter: findings looked up in RadGraph's published JSON.

RadGraph (Jain et al., NeurIPS Datasets and Benchmarks 2021) publishes entities and relations of
MIMIC-CXR's reports; ``radgraph_statements`` has the rules that make findings of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lemmas import Lemmatizer, lemmatize
from medvlp_reports.radgraph_json import DEFINITELY_ABSENT, DEFINITELY_PRESENT, UNCERTAIN, read_batches
from medvlp_reports.radgraph_statements import NO_PLACE, Statements, statements_of
from medvlp_toolkit.data.records import Finding, Presence, Report

_PRESENCE = {
    DEFINITELY_PRESENT: Presence.PRESENT,
    DEFINITELY_ABSENT: Presence.ABSENT,
    UNCERTAIN: Presence.UNCERTAIN,
}
_MOST_LABELS = 5


class RadGraphFilter:
    """Looks up reports in RadGraph's JSON (``MIMIC-CXR_graphs.json``) instead of reading their text.

    Args:
        path: the JSON file: ``{study_path: {"text": …, "entities": {…}}, …}``.
        lemmatizer: phrase → base forms; the package's own table, or ``spacy_lemmatizer()``.
        uncertain: also give RadGraph's uncertain observations (MedKLIP leaves them out).
        suggestive_places: an observation without a place has that of what it suggests or is suggested by. False: the
            published rules to the letter, which lose it.

    A report's id may be the study's path in the JSON, its file name, or that without ``s``
    (``50414267``). Reports that the JSON lacks get no findings; ``missing`` counts them.
    Entities with a label that RadGraph does not have are left out; ``unknown_labels`` counts them. Both counts are
    shown at the end of a run.

    The file is read at first use, and before the filter is sent to another process.

    Example::

        report_filter:
          _target_: medvlp_toolkit.report_filters.radgraph
          path: MIMIC-CXR_graphs.json
    """

    def __init__(
        self,
        path: str | Path,
        lemmatizer: Lemmatizer = lemmatize,
        uncertain: bool = True,
        suggestive_places: bool = True,
    ) -> None:
        vocabulary = medklip_vocabulary()
        self.path = Path(path)
        self.lemmatizer = lemmatizer
        self.uncertain = uncertain
        self.suggestive_places = suggestive_places
        self.entities: list[str] = list(vocabulary.entities)
        self.positions: list[str] = list(vocabulary.positions)
        self.missing = 0
        self.unknown_labels: Counter[str] = Counter()
        self._tally: Counter[str] = Counter()
        self._statements: Statements | None = None
        self._bounds: list[int] = []  # study i has the statements _bounds[i] to _bounds[i + 1]
        self._findings: list[Finding] = []
        self._finding: NDArray[np.int32] = np.empty(0, dtype=np.int32)  # statement → its place in _findings
        self._rows: dict[str, int] = {}
        self._digest = ""

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        """Findings of each report; spans are None, ``concept_id`` is the observation's lemma."""
        self.statements()
        found: list[list[Finding]] = []
        for report in reports:
            row = self._rows.get(report.id)
            if row is None:
                row = self._rows.get(_short_id(report.id))
            if row is None:
                self.missing += 1
                self._tally["unknown to the filter"] += 1
                found.append([])
            else:
                places = self._finding[self._bounds[row] : self._bounds[row + 1]]
                found.append([self._findings[place] for place in places.tolist()])
        return found

    def statements(self) -> Statements:
        """All statements of the file, read once.

        Raises FileNotFoundError, or ValueError where the file is not RadGraph's JSON.
        """
        if self._statements is None:
            digest = hashlib.sha256()
            self.unknown_labels = Counter()
            batches = read_batches(self.path, digest, unknown_labels=self.unknown_labels)
            self._statements = statements_of(batches, self.lemmatizer, self.suggestive_places)
            self._digest = digest.hexdigest()
            for number, (label, count) in enumerate(self.unknown_labels.most_common()):
                named = repr(label) if number < _MOST_LABELS else "others"
                self._tally[f"entities with an unknown label, left out: {named}"] += count
            self._index_findings(self._statements)
            for row, study in enumerate(self._statements.studies):
                self._rows[study] = row
                self._rows.setdefault(_short_id(study), row)
        return self._statements

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the findings depend on besides the report."""
        self.statements()
        lemmatizer = getattr(self.lemmatizer, "__qualname__", type(self.lemmatizer).__qualname__)
        return {
            "sha256": self._digest,
            "uncertain": self.uncertain,
            "suggestive_places": self.suggestive_places,
            "lemmatizer": lemmatizer,
        }

    def take_tally(self) -> Counter[str]:
        """Reports that the file lacks, and labels that RadGraph does not have, since the last call."""
        taken, self._tally = self._tally, Counter()
        return taken

    def __getstate__(self) -> dict[str, Any]:
        self.statements()  # tens of megabytes; every process parsing the file again would take far longer
        return {**self.__dict__, "lemmatizer": lemmatize, "_tally": Counter()}

    def _index_findings(self, statements: Statements) -> None:
        """Make each distinct finding once: studies share them, since they cannot be changed."""
        shape = (len(statements.lemmas), len(self.entities), len(self.positions), len(_PRESENCE) + 1)
        fields = (statements.lemma, statements.entity, statements.position, statements.label)
        distinct, finding = np.unique(np.ravel_multi_index(fields, shape), return_inverse=True)
        self._findings = [
            Finding(
                entity=self.entities[entity],
                presence=_PRESENCE[int(label)],
                position=None if self.positions[position] == NO_PLACE else self.positions[position],
                concept_id=statements.lemmas[lemma],
            )
            for lemma, entity, position, label in zip(*np.unravel_index(distinct, shape), strict=True)
        ]
        study = statements.study
        self._finding = finding.astype(np.int32)
        if not self.uncertain:
            certain = statements.label != UNCERTAIN
            study, self._finding = study[certain], self._finding[certain]
        self._bounds = np.searchsorted(study, np.arange(len(statements.studies) + 1)).tolist()


def _short_id(study: str) -> str:
    """The bare number of a study: ``files/p10/p10000032/s50414267.txt`` and ``s50414267`` give ``50414267``."""
    stem = PurePosixPath(study).stem if "/" in study or study.endswith(".txt") else study
    return stem[1:] if stem[:1] == "s" and stem[1:].isdigit() else stem
