"""Plugins are found without being imported, addressed as attributes, and fail with a sentence."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import medvlp_toolkit as mv
from medvlp_toolkit.known_plugins import KNOWN_PLUGINS
from medvlp_toolkit.registry import (
    PluginConflictError,
    PluginError,
    PluginLoadError,
    PluginNotFoundError,
    Registry,
)

HEAVY = ("torch", "monai", "ignite", "transformers", "pandas", "numpy")


def loaded_after(statements: str, *more_path: Path) -> list[str]:
    """Modules that a fresh interpreter holds after ``statements``."""
    program = f"import sys, json\n{statements}\nprint(json.dumps(sorted(sys.modules)))"
    path = [*map(str, more_path), *sys.path]
    program = f"import sys; sys.path[:] = {path!r}\n{program}"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    names: list[str] = json.loads(output.splitlines()[-1])
    return names


def test_importing_the_package_loads_no_deep_learning_stack() -> None:
    loaded = loaded_after("import medvlp_toolkit")
    assert [name for name in HEAVY if name in loaded] == []


def test_listing_imports_no_plugin(fake_packages: Path) -> None:
    loaded = loaded_after(
        "import medvlp_toolkit as mv\n"
        "for registry in mv.registries.values(): list(registry), repr(registry), len(registry), registry.refs()\n"
        "assert 'acme' in mv.report_filters and 'resnet' in dir(mv.encoders)",
        fake_packages,
    )
    assert "acme_filters" not in loaded
    assert not [name for name in loaded if name.startswith("medvlp_") and not name.startswith("medvlp_toolkit")]
    assert [name for name in HEAVY if name in loaded] == []


def test_one_installed_package_is_imported_when_its_plugin_is_used(fake_packages: Path) -> None:
    loaded = loaded_after("import medvlp_toolkit as mv; mv.report_filters.acme", fake_packages)
    assert "acme_filters" in loaded
    assert "rival_filters" not in loaded


@pytest.mark.usefixtures("fake_packages")
def test_plugin_is_had_as_attribute_by_name_and_by_distribution() -> None:
    import acme_filters

    assert mv.report_filters.acme is acme_filters.AcmeFilter
    assert mv.report_filters["acme"] is acme_filters.AcmeFilter
    assert mv.report_filters["acme-filters:acme"] is acme_filters.AcmeFilter
    assert mv.encoders.acme_tower(depth=3) == {"depth": 3, "width": 8}


@pytest.mark.usefixtures("fake_packages")
def test_monai_resolves_a_plugin_as_target() -> None:
    from monai.bundle import ConfigParser

    parser = ConfigParser({"filter": {"_target_": "medvlp_toolkit.report_filters.acme", "word": "edema"}})
    built = parser.get_parsed_content("filter")
    assert type(built) is mv.report_filters.acme
    assert built.word == "edema"


@pytest.mark.usefixtures("fake_packages")
def test_misspelt_target_reaches_the_user_of_monai_with_the_nearest_name() -> None:
    from monai.bundle import ConfigParser

    parser = ConfigParser({"filter": {"_target_": "medvlp_toolkit.report_filters.acmee"}})
    with pytest.raises(Exception, match="did you mean 'acme'") as caught:
        parser.get_parsed_content("filter")
    assert "ModuleNotFoundError" not in str(caught.value)


@pytest.mark.usefixtures("fake_packages")
def test_unknown_name_says_kind_nearest_and_all_names() -> None:
    with pytest.raises(PluginNotFoundError) as caught:
        mv.report_filters["acne"]
    message = str(caught.value)
    assert message.startswith("no report_filters plugin named 'acne'; did you mean 'acme'?")
    assert "available:" in message
    assert "shouting" in message


def test_known_but_absent_plugin_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medvlp_toolkit.registry._scan", dict)  # as if nothing were installed
    with pytest.raises(PluginNotFoundError, match="pip install medvlp-encoders; available: none"):
        mv.encoders["resnet"]


def test_unknown_attribute_is_a_lookup_error_and_no_attribute_error() -> None:
    with pytest.raises(LookupError) as caught:
        _ = mv.encoders.no_such_encoder
    assert not isinstance(caught.value, AttributeError)


def test_underscore_names_are_attribute_errors_so_that_python_protocols_work() -> None:
    with pytest.raises(AttributeError):
        _ = mv.encoders.__wrapped__
    assert not hasattr(mv.encoders, "_private")
    assert list(copy.copy(mv.encoders)) == list(mv.encoders)


def test_registry_is_a_read_only_mapping() -> None:
    assert mv.encoders.get("no_such_encoder", "default") == "default"
    with pytest.raises(TypeError):
        mv.encoders["mine"] = object()  # type: ignore[index]


@pytest.mark.usefixtures("fake_packages")
def test_two_distributions_with_one_name_conflict_only_when_it_is_used() -> None:
    import acme_filters
    import rival_filters

    assert "shouting" in mv.report_filters
    assert [ref.distribution for ref in mv.report_filters.refs() if ref.name == "shouting"] == [
        "acme-filters",
        "rival-filters",
    ]
    with pytest.raises(PluginConflictError) as caught:
        _ = mv.report_filters.shouting
    assert "acme_filters.shouting (from acme-filters)" in str(caught.value)
    assert "rival_filters.shouting (from rival-filters)" in str(caught.value)
    assert mv.report_filters["acme-filters:shouting"] is acme_filters.shouting
    assert mv.report_filters["rival-filters:shouting"] is rival_filters.shouting


@pytest.mark.usefixtures("fake_packages")
def test_import_path_of_a_conflicting_plugin_works_as_target() -> None:
    from monai.bundle import ConfigParser

    path = mv.report_filters.ref("rival-filters:shouting").import_path
    assert ConfigParser({"said": {"_target_": path, "text": "so"}}).get_parsed_content("said") == "so so"


@pytest.mark.usefixtures("fake_packages")
def test_broken_package_fails_alone_and_says_why() -> None:
    assert {"broken", "absent", "acme"} <= set(mv.report_filters)
    assert mv.report_filters.acme is not None
    with pytest.raises(PluginLoadError) as caught:
        _ = mv.report_filters.broken
    message = str(caught.value)
    assert "report_filters plugin 'broken' of broken-filters 0.1 cannot be imported" in message
    assert "No module named 'a_package_that_nobody_installed'" in message
    with pytest.raises(PluginLoadError, match="broken_filters_without_module"):
        _ = mv.report_filters.absent


@pytest.mark.usefixtures("fake_packages")
def test_plugin_made_for_a_later_toolkit_is_refused_without_being_imported() -> None:
    with pytest.raises(PluginLoadError, match=f"needs medvlp-toolkit>=99, and {mv.__version__} is installed"):
        _ = mv.report_filters.future
    assert "future_filters" not in sys.modules


@pytest.mark.usefixtures("fake_packages")
def test_name_of_a_registry_method_is_refused_as_plugin_name() -> None:
    assert callable(mv.report_filters.register)  # still the method
    with pytest.raises(PluginLoadError, match=r"belongs to the registry itself.*misnamed-filters"):
        mv.report_filters["register"]
    with pytest.raises(PluginLoadError, match="not a public Python identifier"):
        mv.report_filters["mis-named"]


@pytest.mark.parametrize("name", ["register", "get", "kind", "keys", "describe"])
def test_registering_a_reserved_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="belongs to the registry itself"):
        Registry("encoders").register(name, object())


@pytest.mark.parametrize("name", ["two-words", "2d", "_hidden", ""])
def test_registering_what_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a public Python identifier"):
        Registry("encoders").register(name, object())


@pytest.mark.usefixtures("fake_packages")
def test_registered_plugin_replaces_an_installed_one_only_when_requested() -> None:
    registry = Registry("report_filters")
    replacement = object()
    with pytest.raises(PluginConflictError, match="override=True"):
        registry.register("acme", replacement)
    assert registry.register("acme", replacement, override=True) is replacement
    assert registry.acme is replacement
    registry.unregister("acme")
    assert registry.acme is mv.report_filters.acme


@pytest.mark.usefixtures("fake_packages")
def test_describe_tells_what_a_plugin_is_and_where_it_comes_from(fake_packages: Path) -> None:
    told = mv.report_filters.describe("acme")
    assert told["summary"] == "Finds the word 'effusion' and nothing else."
    assert told["signature"].startswith("(word: 'str' = 'effusion')")
    assert (told["distribution"], told["version"]) == ("acme-filters", "0.1")
    assert told["target"] == "acme_filters.AcmeFilter"
    assert Path(told["source"]) == fake_packages / "acme_filters.py"


def test_an_installed_package_appears_without_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "late" not in mv.knowledge_sources
    info = tmp_path / "late_plugins-2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late-plugins\nVersion: 2\n")
    (info / "entry_points.txt").write_text("[medvlp_toolkit.knowledge_sources]\nlate = builtins:dict\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert mv.knowledge_sources.late is dict


def test_the_first_of_two_installed_versions_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1", "2"):
        info = tmp_path / version / f"twice_there-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: twice-there\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[medvlp_toolkit.knowledge_sources]\ntwice = builtins:dict\n")
        monkeypatch.syspath_prepend(str(tmp_path / version))
    assert mv.knowledge_sources.ref("twice").version == "2"


def test_every_plugin_of_this_project_has_an_install_hint_and_no_other_has(repository: Path) -> None:
    declared = {
        (group.removeprefix("medvlp_toolkit."), name, project["project"]["name"])
        for file in (repository / "plugins").glob("*/pyproject.toml")
        if (project := tomllib.loads(file.read_text()))["project"]["name"] != "medvlp-example"
        for group, names in project["project"]["entry-points"].items()
        if group.removeprefix("medvlp_toolkit.") in mv.registries
        for name in names
    }
    hints = {(kind, name, where) for kind, names in KNOWN_PLUGINS.items() for name, where in names.items()}
    assert hints == declared


def test_plugin_errors_survive_pickling_so_that_workers_can_report_them() -> None:
    with pytest.raises(PluginError) as caught:
        mv.encoders["no_such_encoder"]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_package_that_is_slow_to_import_is_not_waited_for(fake_packages: Path) -> None:
    listing = "import medvlp_toolkit as mv\nassert 'slow' in mv.report_filters\nmv.report_filters.acme"
    loaded = loaded_after(listing, fake_packages)
    assert "acme_filters" in loaded
    assert "slow_filters" not in loaded


def test_damaged_metadata_of_a_package_is_warned_of_and_hides_no_other(
    fake_packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = "[medvlp_toolkit.report_filters]\n"
    for name, entry in (("garbled", "this is no entry point"), ("nameless", "nameless = nameless_filters:Filter")):
        info = tmp_path / f"{name}_filters-0.1.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(f"{group}{entry}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(UserWarning, match="metadata is damaged") as warned:
        names = list(mv.report_filters)
    assert {"acme", "rules", "broken", "slow"} <= set(names)
    assert not {"nameless", "this is no entry point"} & set(names)
    told = "\n".join(str(one.message) for one in warned)
    assert "garbled_filters-0.1.dist-info" in told
    assert "nameless_filters-0.1.dist-info" in told
