"""``medvlp plugins``: everything offered is listed; importing is tried only when asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_toolkit.cli.main import app


def run(*arguments: str) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["plugins", *arguments])
    return ended.exit_code, ended.stdout, ended.stderr


def entries(*arguments: str) -> dict[tuple[str, str], dict[str, object]]:
    _, shown, _ = run("--json", *arguments)
    return {(entry["distribution"], entry["name"]): entry for entry in json.loads(shown)}


def test_every_built_in_plugin_is_listed_with_kind_distribution_and_version() -> None:
    status, shown, _ = run()
    assert status == 0
    for registry in mv.registries.values():
        for ref in registry.refs():
            row = next(line for line in shown.splitlines() if f" {ref.name} " in line and ref.distribution in line)
            assert row.split()[:4] == [ref.kind, ref.name, ref.distribution, ref.version]


@pytest.mark.usefixtures("fake_packages")
def test_third_party_and_broken_packages_are_listed_and_nothing_is_imported() -> None:
    for module in ("acme_filters", "broken_filters"):
        sys.modules.pop(module, None)
    listed = entries("report_filters")
    assert {("acme-filters", "acme"), ("broken-filters", "broken"), ("future-filters", "future")} <= set(listed)
    assert "acme_filters" not in sys.modules


@pytest.mark.usefixtures("fake_packages")
def test_conflicting_names_are_marked_with_what_to_write_instead() -> None:
    _, shown, _ = run("report_filters")
    row = next(line for line in shown.splitlines() if "rival-filters" in line and "shouting" in line)
    assert row.split()[-1] == "conflict"
    note = (
        "! report_filters plugin 'shouting' of rival-filters: acme-filters offers it too; write rival_filters.shouting"
    )
    assert note in shown.splitlines()
    assert entries("report_filters")["acme-filters", "shouting"]["conflicts_with"] == ["rival-filters"]
    assert entries("report_filters")["acme-filters", "acme"]["conflicts_with"] == []


@pytest.mark.parametrize("kind", ["encoders", "encoder", "fusion-module", "pretext_loss"])
def test_one_kind_alone_is_listed(kind: str) -> None:
    kinds = {entry["kind"] for entry in entries(kind).values()}
    assert len(kinds) == 1
    assert kinds.pop() in mv.registries  # type: ignore[comparison-overlap]


def test_unknown_kind_is_refused_with_the_nearest() -> None:
    status, shown, said = run("encodrs")
    assert (status, shown) == (2, "")
    assert said.startswith("medvlp: no plugin kind 'encodrs'; did you mean 'encoders'? the kinds are report_filters, ")


@pytest.mark.usefixtures("fake_packages")
def test_check_imports_each_alone_and_says_why_one_fails() -> None:
    status, shown, _ = run("report_filters", "--check", "--timeout", "60")
    assert status == 1
    table, notes = [line for line in shown.splitlines() if "plugin" not in line], shown.splitlines()
    rows = {tuple(line.split()[2:4]): line for line in table if line[:1] in "✓✗"}
    assert rows["acme", "acme-filters"].startswith("✓")
    assert rows["shouting", "acme-filters"].startswith("✓")
    assert rows["shouting", "rival-filters"].startswith("✓")
    for name, distribution, why in (
        ("broken", "broken-filters", "No module named 'a_package_that_nobody_installed'"),
        ("future", "future-filters", "needs medvlp-toolkit>=99"),
        ("register", "misnamed-filters", "belongs to the registry itself"),
    ):
        assert rows[name, distribution].startswith("✗")
        assert [line for line in notes if line.startswith("✗ report_filters plugin") and name in line and why in line]
    assert "can be imported" in shown.splitlines()[-1]


def package(folder: Path, body: str) -> None:
    """An installed-looking package ``odd-plugins`` whose module runs ``body`` when it is imported."""
    info = folder / "odd_plugins-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-plugins\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[medvlp_toolkit.fusion_modules]\nodd = odd_plugins:Odd\n")
    (folder / "odd_plugins.py").write_text(f"{body}\n\nclass Odd:\n    'Odd.'\n")


@pytest.mark.parametrize(
    ("body", "options", "why"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", [], "its process was killed by SIGKILL"),
        ("import os; os._exit(7)", [], "its process ended with status 7 and no result"),
        ("raise SystemExit('goodbye')", [], "SystemExit: goodbye"),
        ("import time; time.sleep(60)", ["--timeout", "1.5"], "gave no result within 1.5 s"),
    ],
)
def test_package_that_ends_or_hangs_its_process_is_reported_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, options: list[str], why: str
) -> None:
    package(tmp_path, body)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(mv.fusion_modules, "_registered", {})
    checked = {
        key: entry for key, entry in entries("fusion_modules", "--check", *options).items() if key[0] == "odd-plugins"
    }
    assert checked["odd-plugins", "odd"]["ok"] is False
    assert why in str(checked["odd-plugins", "odd"]["error"])


def test_package_that_prints_while_it_is_imported_is_still_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "print('hello'); import os; os.write(1, b'more')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert entries("fusion_modules", "--check")["odd-plugins", "odd"]["ok"] is True


def test_no_plugin_at_all_says_how_to_get_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medvlp_toolkit.registry._scan", dict)
    status, shown, _ = run()
    assert status == 0
    assert "no plugin is installed" in shown
