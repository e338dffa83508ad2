"""``medvlp doctor``: what is installed fits together, or the fix is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from medvlp_toolkit.cli import doctor as command
from medvlp_toolkit.cli import requirements
from medvlp_toolkit.cli.isolated import Outcome
from medvlp_toolkit.cli.main import app
from medvlp_toolkit.cli.requirements import CheckedRequirement, check_requirements

GOOD_STACK = Outcome({"torch": "", "monai": "", "ignite": "", "transformers": ""}, "", 1.0)
GOOD_DEVICES = Outcome(
    {"torch": "2.8.0", "cuda": None, "devices": [{"device": "cpu", "name": "A", "threads": 2, "bfloat16": False}]},
    "",
    1.0,
)
GOOD_DECODERS = Outcome({"JPEG-LS": ["gdcm"], "RLE Lossless": ["pydicom"]}, "", 1.0)


def run(*arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["doctor", *arguments])
    return ended.exit_code, ended.stdout


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a test say what the probes find, without their seconds of importing."""

    def set_probes(
        stack: Outcome = GOOD_STACK, devices: Outcome = GOOD_DEVICES, decoders: Outcome = GOOD_DECODERS
    ) -> None:
        monkeypatch.setattr(command, "_probe", lambda timeout: (stack, devices, decoders))

    set_probes()
    return set_probes


def test_this_environment_fits_together() -> None:
    status, shown = run("--json")
    told = json.loads(shown)
    assert told["problems"] == []
    assert status == 0
    assert told["imports"] == {"torch": "", "monai": "", "ignite": "", "transformers": ""}
    assert told["accelerator"]["devices"][-1]["device"] == "cpu"
    assert all(found for found in told["dicom_decoders"].values())
    assert {"torch", "monai", "transformers", "pydicom"} <= {entry["package"] for entry in told["requirements"]}


@pytest.mark.usefixtures("probes")
def test_table_shows_versions_devices_and_decoders() -> None:
    status, shown = run()
    assert status == 0
    assert "no problem found" in shown
    assert "cpu: A, 2 threads, bfloat16 by emulation only" in shown
    assert "JPEG-LS: gdcm" in shown
    row = next(line.split() for line in shown.splitlines() if " pydicom " in line and "required" not in line)
    assert row[0] == "✓"
    assert row[3] == ">=3.0"


@pytest.mark.usefixtures("probes", "fake_packages")
def test_plugin_package_for_a_later_toolkit_is_a_problem_with_a_fix() -> None:
    status, shown = run()
    assert status == 1
    problem = next(line for line in shown.splitlines() if "needs medvlp-toolkit>=99" in line)
    assert "future-filters needs medvlp-toolkit>=99" in problem
    assert "Fix: pip install --upgrade future-filters" in problem


def test_stack_that_does_not_import_is_a_problem_with_a_fix(probes: Any) -> None:
    probes(stack=Outcome({"torch": "", "monai": "ImportError: libfoo.so: cannot open"}, "", 1.0))
    status, shown = run()
    assert status == 1
    assert "monai cannot be imported: ImportError: libfoo.so: cannot open. Fix: pip install" in shown
    probes(stack=Outcome(None, "its process was killed by SIGSEGV", 1.0))
    status, shown = run("--json")
    assert status == 1
    assert json.loads(shown)["imports"] == {"error": "its process was killed by SIGSEGV"}


def test_missing_decoder_is_a_problem_with_a_fix(probes: Any) -> None:
    probes(decoders=Outcome({"JPEG-LS": []}, "", 1.0))
    status, shown = run()
    assert status == 1
    assert "no decoder for DICOM files in JPEG-LS. Fix: pip install pylibjpeg" in shown


def test_devices_that_cannot_be_listed_are_a_problem(probes: Any) -> None:
    probes(devices=Outcome(None, "gave no result within 180 s", 180.0))
    status, shown = run()
    assert status == 1
    assert "torch cannot list its devices: gave no result within 180 s" in shown


@pytest.mark.usefixtures("probes")
def test_other_python_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.platform, "python_version", lambda: "3.9.1")
    status, shown = run("--json")
    assert status == 1
    assert json.loads(shown)["problems"][0].startswith("this is Python 3.9.1; medvlp-toolkit needs ")


def test_requirements_are_those_of_the_toolkit_and_of_every_plugin_package() -> None:
    checked = {entry.package: entry for entry in check_requirements()}
    assert checked["torch"].specifiers["medvlp-toolkit"] == ">=2.8"
    assert "medvlp-medklip" in checked["medvlp-toolkit"].specifiers
    assert "pytest" not in checked, "extras are nobody's requirement"


@pytest.mark.parametrize(
    ("installed", "ok", "problem"),
    [
        ("", False, "thing is not installed; a, b needs it."),
        ("1.5", True, None),
        ("0.9", False, "thing 0.9 is installed; a needs thing>=1."),
        ("2.1", False, "thing 2.1 is installed; b needs thing<2."),
        ("1.6rc1", True, None),
    ],
)
def test_requirement_is_met_missing_or_unmet(installed: str, ok: bool, problem: str | None) -> None:
    requirement = CheckedRequirement("thing", installed, {"a": ">=1", "b": "<2"})
    assert requirement.ok is ok
    assert requirement.required == ">=1,<2"
    assert requirement.fix == "pip install 'thing>=1,<2'"
    if problem is not None:
        assert requirement.problem == problem
