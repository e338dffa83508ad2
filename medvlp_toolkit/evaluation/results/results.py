"""The results folder: written by every evaluation, and the only input of reports and comparisons.

::

    scores.parquet   a row per study, or with image_id per image: study_id, (image_id,) patient_id, split, sex, age,
                     view, ``group:<name>`` for further subgroups, ``target:<label>`` int8 (1 present, 0 absent, -1
                     unknown), ``score:<label>`` float32
    metrics.json     all metrics
    cases.parquet    if images were kept: cases to review (:mod:`medvlp_toolkit.evaluation.zero_shot.cases`)
    run.json         config, hashes of config, data split and checkpoint, versions, device, time; and the SHA-256
                     of the files above, so that mixed folders are detected
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.evaluation.results.run_record import split_sha256
from medvlp_toolkit.files import sha256_of, write_whole

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
SCORES_FILE, METRICS_FILE, CASES_FILE, RUN_FILE = "scores.parquet", "metrics.json", "cases.parquet", "run.json"
#: One row per image, one column per entity or label; written by evaluation and inference.
PROBABILITIES_FILE = "probabilities.csv"

#: The column that distinguishes the images of a study, in a table with a row per image.
IMAGE = "image_id"
#: Columns that every scores table has, before the targets and scores.
DESCRIPTION = ("study_id", "patient_id", "split", "sex", "age", "view")


class ResultsError(ValueError):
    """A folder does not contain results that this version can read."""


@dataclass(frozen=True, eq=False)
class Results:
    """One evaluation: its table of scores, metrics, provenance, and cases if any were kept."""

    scores: pa.Table
    metrics: dict[str, Any]
    run: dict[str, Any]
    cases: pa.Table | None = None

    @property
    def groups(self) -> dict[str, list[Any]]:
        """Columns that divide the images: sex, age, view and those named ``group:``."""
        names = {name: name for name in ("sex", "age", "view")}
        names |= {n.removeprefix("group:"): n for n in self.scores.column_names if n.startswith("group:")}
        return {name: self.scores[column].to_pylist() for name, column in names.items()}

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels with a score, in the table's order."""
        return tuple(name.removeprefix("score:") for name in self.scores.column_names if name.startswith("score:"))

    @property
    def row_ids(self) -> list[str]:
        """The id of each row: of the study, or of the image in a table with a row per image."""
        ids: list[str] = self.scores[IMAGE if IMAGE in self.scores.column_names else "study_id"].to_pylist()
        return ids

    def target_matrix(self) -> NDArray[np.int8]:
        """(S, L) 1 present, 0 absent, -1 unknown, in the order of :attr:`labels`."""
        return self._matrix("target", np.int8)

    def score_matrix(self) -> NDArray[np.float32]:
        """(S, L) in the order of :attr:`labels`."""
        return self._matrix("score", np.float32)

    def _matrix(self, kind: str, dtype: type[np.generic]) -> NDArray[Any]:
        columns = [self.scores[f"{kind}:{label}"].to_numpy() for label in self.labels]
        return np.stack(columns, axis=1).astype(dtype) if columns else np.zeros((self.scores.num_rows, 0), dtype)

    @classmethod
    def write(
        cls,
        folder: Path | str,
        scores: pa.Table | Mapping[str, Any],
        metrics: Mapping[str, Any],
        run: Mapping[str, Any],
        cases: pa.Table | None = None,
    ) -> Self:
        """Write a results folder, replacing earlier results; other files in it are kept.

        Files are written atomically, ``run.json`` last: a folder without it is of an interrupted evaluation. NaN
        becomes null. The schema version, the number of rows, the hash of the data split (from study_id and split) and
        those of the files are added to ``run``.

        Args:
            folder: created if it does not exist.
            scores: a table of :func:`~medvlp_toolkit.evaluation.score_table`, or a dict of its columns.
            metrics: plain values, NumPy's included.
            run: of :func:`.run_record`.
            cases: of :func:`~medvlp_toolkit.evaluation.case_table`; None keeps no images.

        Raises:
            ValueError: when the table lacks a column of the contract or repeats a study.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = scores if isinstance(scores, pa.Table) else pa.table(dict(scores))
        table = _as_agreed(table)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN_FILE).unlink(missing_ok=True)
        write_whole(folder / SCORES_FILE, lambda file: pq.write_table(table, file))
        clean_metrics = plain(metrics)
        _write_json(folder / METRICS_FILE, clean_metrics)
        (folder / CASES_FILE).unlink(missing_ok=True)
        names = [SCORES_FILE, METRICS_FILE]
        if cases is not None:
            names.append(CASES_FILE)
            write_whole(folder / CASES_FILE, lambda file: pq.write_table(cases, file))
        record = {
            **plain(run),
            "schema_version": SCHEMA_VERSION,
            "studies": table.num_rows,
            "files": {name: _sha256(folder / name) for name in names},
        }
        split = split_sha256(table["study_id"].to_pylist(), table["split"].to_pylist())
        record["hashes"] = {**record.get("hashes", {}), "data_split": split}
        _write_json(folder / RUN_FILE, record)
        return cls(table, clean_metrics, record, cases)

    @classmethod
    def read(cls, folder: Path | str) -> Self:
        """Read a results folder.

        Raises:
            ResultsError: in one line with the fix, for a folder that is absent, incomplete, of another schema
                version, or whose files are not all from one evaluation.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = Path(folder)
        if not folder.is_dir():
            raise ResultsError(f"{folder}: no such folder; give the output_dir of an evaluation")
        missing = [name for name in (SCORES_FILE, METRICS_FILE, RUN_FILE) if not (folder / name).is_file()]
        if len(missing) == 3:
            raise ResultsError(
                f"{folder}: no results in it ({', '.join(missing)} expected); give an evaluation's folder"
            )
        if missing:
            raise ResultsError(f"{folder}: incomplete, it lacks {', '.join(missing)}; run the evaluation again")
        run = _read_json(folder / RUN_FILE)
        version = run.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ResultsError(
                f"{folder}: results of schema {version}, this version reads {SCHEMA_VERSION}; run the evaluation again"
            )
        recorded = run.get("files")
        recorded = recorded if isinstance(recorded, dict) else {}
        unnamed = [name for name in (SCORES_FILE, METRICS_FILE) if name not in recorded]
        if unnamed:
            raise ResultsError(f"{folder}: {RUN_FILE} does not list {', '.join(unnamed)}; run the evaluation again")
        for name, digest in recorded.items():
            if name in (SCORES_FILE, METRICS_FILE, CASES_FILE) and not (folder / name).is_file():
                raise ResultsError(f"{folder}: incomplete, it lacks {name}; run the evaluation again")
            if _sha256(folder / name) != digest:
                raise ResultsError(
                    f"{folder}: {name} is not the file that {RUN_FILE} lists (changed, or mixed with another "
                    "evaluation's); run the evaluation again"
                )
        try:
            table = pq.read_table(folder / SCORES_FILE)
            cases = pq.read_table(folder / CASES_FILE) if CASES_FILE in recorded else None
        except pa.ArrowException:
            raise ResultsError(f"{folder / SCORES_FILE}: not a Parquet file; run the evaluation again") from None
        split = run.get("hashes", {}).get("data_split")
        if {"study_id", "split"} - set(table.column_names) or split != split_sha256(
            table["study_id"].to_pylist(), table["split"].to_pylist()
        ):
            raise ResultsError(
                f"{folder}: {SCORES_FILE} is from another data set or split than {RUN_FILE}; run the evaluation again"
            )
        return cls(table, _read_json(folder / METRICS_FILE), run, cases)


def write_probabilities(
    path: Path | str, image_id: Sequence[str], scores: NDArray[np.floating], labels: Sequence[str]
) -> Path:
    """Probabilities per image as CSV: a column ``image`` with its id, then a column per label.

    Args:
        path: of the CSV file, which is written atomically.
        image_id: S ids.
        scores: (S, L).
        labels: L names.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    if scores.shape != (len(image_id), len(labels)):
        raise ValueError(
            f"write_probabilities got scores {scores.shape} for {len(image_id)} images and {len(labels)} labels"
        )
    if "image" in labels or len(set(labels)) < len(labels):
        raise ValueError("write_probabilities needs labels that differ from each other and from 'image'")
    columns = {"image": pa.array(list(image_id), pa.string())}
    columns |= {label: pa.array(np.ascontiguousarray(scores[:, i], np.float32)) for i, label in enumerate(labels)}
    options = pa_csv.WriteOptions(quoting_style="needed")
    return write_whole(path, lambda file: pa_csv.write_csv(pa.table(columns), file, options))


def plain(value: Any) -> Any:
    """The value in JSON types: NumPy to Python, NaN and infinity to None, paths to text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)


def _as_agreed(table: pa.Table) -> pa.Table:
    """The table with the contract's column order and types."""
    import pyarrow as pa

    if "study_id" not in table.column_names:
        raise ValueError("a scores table needs a column study_id")
    for name in DESCRIPTION:
        if name not in table.column_names:
            column = table["study_id"] if name == "patient_id" else pa.nulls(table.num_rows)
            table = table.append_column(name, column)
    prefixes = ("target:", "score:", "group:")
    known = (*DESCRIPTION, IMAGE)
    foreign = [name for name in table.column_names if name not in known and not name.startswith(prefixes)]
    if foreign:
        raise ValueError(
            f"a scores table has no columns {', '.join(foreign)}; labels are target:<label>, score:<label>"
        )
    scored = [name.removeprefix("score:") for name in table.column_names if name.startswith("score:")]
    aimed = {name.removeprefix("target:") for name in table.column_names if name.startswith("target:")}
    if set(scored) != aimed:
        raise ValueError(
            f"labels have a target and a score each; {', '.join(sorted(set(scored) ^ aimed))} has only one"
        )
    key = IMAGE if IMAGE in table.column_names else "study_id"
    described = [DESCRIPTION[0], *([IMAGE] if key == IMAGE else []), *DESCRIPTION[1:]]
    kinds = {name: pa.float32() if name == "age" else pa.string() for name in described}
    kinds |= {name: pa.string() for name in table.column_names if name.startswith("group:")}
    kinds |= {f"target:{label}": pa.int8() for label in scored}
    kinds |= {f"score:{label}": pa.float32() for label in scored}
    table = table.select(list(kinds)).cast(pa.schema(list(kinds.items())))
    for label in scored:
        column = table[f"target:{label}"]
        if column.null_count:
            index = table.column_names.index(f"target:{label}")
            table = table.set_column(index, f"target:{label}", column.fill_null(-1))
    if table["study_id"].null_count or table[key].null_count or len(table[key].unique()) < table.num_rows:
        raise ValueError(
            f"a scores table has one row a study, or an image with image_id; some {key} is missing or there twice"
        )
    return table


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        value = None
    if not isinstance(value, dict):
        raise ResultsError(f"{path}: damaged; run the evaluation again")
    return value


def _sha256(path: Path) -> str:
    return sha256_of(path) if path.is_file() else ""
