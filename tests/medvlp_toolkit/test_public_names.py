"""Each folder exports its public names, and paths of the first layout still lead to what they led to."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings

import pytest

from medvlp_toolkit.moved import MODULES, NAMES, new_path

FOLDERS = (
    *("images", "data", "preparing", "model", "weights", "engines", "downstream", "evaluation", "inference"),
    "exporting",
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_public_name_of_a_folder_is_there(folder: str) -> None:
    package = importlib.import_module(f"medvlp_toolkit.{folder}")
    assert package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_public_name_hides_no_module(folder: str) -> None:
    package = importlib.import_module(f"medvlp_toolkit.{folder}")
    for name in package.__all__:
        assert f"{folder}.{name}" not in MODULES, f"medvlp_toolkit.{folder}.{name} was a module: choose another name"


@pytest.mark.parametrize("old", sorted(MODULES))
def test_an_old_module_answers_with_what_it_held(old: str) -> None:
    new = importlib.import_module(f"medvlp_toolkit.{MODULES[old]}")
    was = importlib.import_module(f"medvlp_toolkit.{old}")
    own = (name for name, value in vars(new).items() if getattr(value, "__module__", "") == new.__name__)
    name = next(own, None) or new.__all__[0]  # a folder holds nothing until it is asked
    with pytest.warns(DeprecationWarning, match="has moved to"):
        assert getattr(was, name) is getattr(new, name)


@pytest.mark.parametrize("old", sorted(NAMES))
def test_an_old_name_answers(old: str) -> None:
    module, _, name = f"medvlp_toolkit.{old}".rpartition(".")
    home, _, now = f"medvlp_toolkit.{NAMES[old]}".rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = getattr(importlib.import_module(module), name)
    assert found is getattr(importlib.import_module(home), now)


def test_the_new_path_is_the_shortest_public_one() -> None:
    assert new_path("medvlp_toolkit.data.dataset.StudyDataset") == "medvlp_toolkit.data.StudyDataset"
    assert new_path("medvlp_toolkit.engines.step.ScoringStep") == "medvlp_toolkit.evaluation.ScoringStep"
    assert new_path("medvlp_toolkit.evaluation.entity_scorer.EntityScorer") == "medvlp_toolkit.model.EntityScorer"
    assert new_path("medvlp_toolkit.data.image_files.image_files") == "medvlp_toolkit.data.open_images"
    assert new_path("medvlp_toolkit.testing.phantom.Phantom") == "medvlp_phantom.Phantom"
    assert new_path("medvlp_toolkit.engines.step.PretrainingStep") is None
    assert new_path("medvlp_toolkit.model.VisionLanguageModel") is None
    assert new_path("monai.inferers.SimpleInferer") is None


def test_an_unknown_name_of_an_old_module_is_an_attribute_error() -> None:
    was = importlib.import_module("medvlp_toolkit.data.dataset")
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = was.no_such_name


def test_monai_resolves_an_old_path() -> None:
    from monai.bundle import ConfigParser

    parser = ConfigParser({"step": {"_target_": "medvlp_toolkit.engines.step.ScoringStep", "transform": None}})
    assert type(parser.get_parsed_content("step")).__module__ == "medvlp_toolkit.evaluation.zero_shot.steps"


def test_importing_a_folder_loads_no_heavy_library() -> None:
    program = (
        f"import sys\nfor folder in {FOLDERS}:\n    __import__('medvlp_toolkit.' + folder)\n"
        "assert not {'torch', 'monai', 'transformers', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stderr == ""
