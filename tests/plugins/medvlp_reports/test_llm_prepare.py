"""`prepare` with the `llm` filter: worker processes share the answers, and the end of the run counts the requests."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

import medvlp_toolkit as mv
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.preparing.prepare import Prepare, PrepareError, Summary
from tests.chat_server import chat_server, status

STUDIES = 150


@pytest.fixture
def source(tmp_path: Path) -> Any:
    with (tmp_path / "studies.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "patient_id", "image", "report"])
        writer.writerows([f"s{n}", f"p{n}", f"{n}.png", f"FINDINGS: Left effusion number {n}."] for n in range(STUDIES))
    return mv.data_sources.csv(file=tmp_path / "studies.csv", report_column="report")


def prepare(source: Any, folder: Path, url: str, **options: Any) -> Summary:
    asking = mv.report_filters.llm(model="m", base_url=url, cache_dir=folder / "cache", attempts=1)
    return Prepare(source, folder / "store", image_size=None, report_filter=asking, **options).run()


def test_workers_share_the_answers_and_the_requests_are_counted(source: Any, tmp_path: Path) -> None:
    with chat_server() as server:
        summary = prepare(source, tmp_path, server.url, workers=2)
        assert len(server.requests) == STUDIES
        assert re.search(rf"^requests: {STUDIES} \([\d.,]+ requests/s\)$", str(summary), re.MULTILINE)
        again = prepare(source, tmp_path, server.url, workers=0, overwrite=True)
        assert len(server.requests) == STUDIES
    assert f"answers from the cache: {STUDIES}" in str(again)
    findings = PackedStore.open(tmp_path / "store").table("findings")
    assert findings.num_rows == STUDIES


def test_a_run_that_ends_with_the_server_resumes_without_asking_twice(source: Any, tmp_path: Path) -> None:
    with chat_server() as server:
        answered = server.always
        server.behaviours = [answered] * 100
        server.always = status(500)
        with pytest.raises(PrepareError, match="the server fails") as caught:
            prepare(source, tmp_path, server.url, workers=0)
        assert "\n" not in str(caught.value)
        sent, server.always, server.requests = set(server.texts), answered, []
        summary = prepare(source, tmp_path, server.url, workers=0)
        assert summary.stored == STUDIES
        assert len(server.requests) == STUDIES - 100
        assert len(sent) < STUDIES
