"""The Parquet tables of a store, written from rows one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medvlp_toolkit.preparing.packing import Row

BATCH = 4096
ANNOTATION = pa.schema(
    [
        ("study", pa.int32()),
        ("entity", pa.string()),
        ("presence", pa.string()),
        ("position", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("concept_id", pa.string()),
    ]
)
BOXES = pa.schema(
    [("study", pa.int32()), ("label", pa.string())] + [(name, pa.float64()) for name in ("x", "y", "width", "height")]
)
QUESTIONS = pa.schema(
    [("study", pa.int32())]
    + [(name, pa.string()) for name in ("id", "question", "answer", "category", "answer_type", "split")]
)
LISTS = {"findings": ANNOTATION, "links": ANNOTATION, "boxes": BOXES, "questions": QUESTIONS}
TYPES = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str": pa.string(), "null": pa.string()}
# Present in every store, so that subgroup tables can rely on them.
DEMOGRAPHICS = {"sex": "str", "age": "float", "view": "str"}
TEXTS = ("study_id", "image_id", "patient_id", "split", "image_path", "image_hash", "report_id", "text")
NUMBERS = ("height", "width")


def write_tables(
    folder: Path,
    rows: Iterable[Row],
    labels: list[str],
    metadata: dict[str, str],
    on_batch: Callable[[list[Row]], None] = lambda batch: None,
) -> dict[str, int]:
    """Write the five tables; returns the number of rows of each.

    Batches have a fixed size, so that the bytes do not depend on the division into chunks; ``on_batch`` receives each.
    """
    columns = study_columns(labels, metadata)
    schema = pa.schema([(name, kind) for name, kind, _ in columns])
    counts = dict.fromkeys(("studies", *LISTS), 0)
    writers = {
        name: pq.ParquetWriter(folder / f"{name}.parquet", table_schema, compression="zstd")
        for name, table_schema in {"studies": schema, **LISTS}.items()
    }
    try:
        for batch in batches(rows, BATCH):
            on_batch(batch)
            arrays = [pa.array([read(row) for row in batch], kind) for _, kind, read in columns]
            writers["studies"].write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=BATCH)
            for name, table_schema in LISTS.items():
                entries = [(study, *entry) for study, row in enumerate(batch, counts["studies"]) for entry in row[name]]
                if entries:
                    arrays = [
                        pa.array([utf8(value) for value in values], field.type)
                        for values, field in zip(zip(*entries, strict=True), table_schema, strict=True)
                    ]
                    table = pa.Table.from_arrays(arrays, schema=table_schema)
                    writers[name].write_table(table, row_group_size=len(entries))
                counts[name] += len(entries)
            counts["studies"] += len(batch)
    finally:
        for writer in writers.values():
            writer.close()
    return counts


Column = tuple[str, pa.DataType, Callable[[Row], Any]]


def study_columns(labels: list[str], metadata: dict[str, str]) -> list[Column]:
    """Name, type and reader of every column of ``studies.parquet``."""
    columns: list[Column] = [(name, pa.string(), text_reader(name)) for name in TEXTS]
    columns += [(name, pa.int32(), number_reader(name)) for name in NUMBERS]
    columns.append(("sections", pa.map_(pa.string(), pa.string()), read_sections))
    for name, kind in metadata_types(metadata).items():
        columns.append((metadata_column(name), TYPES[kind], metadata_reader(name, kind)))
    columns += [(f"label:{name}", pa.int8(), label_reader(name)) for name in labels]
    return columns


def metadata_types(metadata: dict[str, str]) -> dict[str, str]:
    """Type of each metadata entry; sex, age and view are always present, and age is numeric where possible."""
    types = dict(DEMOGRAPHICS)
    for name, kind in metadata.items():
        if not (name in DEMOGRAPHICS and (kind == "null" or (name == "age" and kind == "int"))):
            types[name] = kind
    return types


def metadata_column(name: str) -> str:
    """The column of a metadata entry; a name that the table itself uses is prefixed with ``metadata:``."""
    taken = name in (*TEXTS, *NUMBERS, "sections") or name.startswith("label:")
    return f"metadata:{name}" if taken else name


def text_reader(name: str) -> Callable[[Row], str | None]:
    return lambda row: utf8(row.get(name))


def number_reader(name: str) -> Callable[[Row], int | None]:
    return lambda row: row.get(name)


def read_sections(row: Row) -> list[tuple[str, str]]:
    return [(utf8(name), utf8(text)) for name, text in row["sections"].items()]


def metadata_reader(name: str, kind: str) -> Callable[[Row], Any]:
    if kind != "str":
        return lambda row: row["metadata"].get(name)

    def read(row: Row) -> str | None:
        value = row["metadata"].get(name)
        return None if value is None else utf8(str(value))

    return read


def label_reader(name: str) -> Callable[[Row], int | None]:
    return lambda row: row["labels"].get(name)


def utf8(value: Any) -> Any:
    """Text that UTF-8 can encode: lone surrogates (bytes of file names that are not UTF-8) are escaped."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Lists of ``size`` rows."""
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch
