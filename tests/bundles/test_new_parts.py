"""Parts that ``medvlp new`` and docs/plugins.md write, and parts that have only what their contract names.

Each is trained, evaluated and used for inference in both recipes. What it lacks for a loss of the recipe is said by
name before training starts; what it lacks for a picture costs the picture alone.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import medvlp_toolkit as mv
from medvlp_toolkit.cli.plugins import known_kind
from medvlp_toolkit.data.store import PackedStore
from medvlp_toolkit.errors import user_message
from medvlp_toolkit.evaluation.results import Results
from medvlp_toolkit.model import VisionLanguageModel
from medvlp_toolkit.scaffold.kinds import KINDS
from medvlp_toolkit.scaffold.package import write_package
from tests.bundles.running import BUNDLES
from tests.bundles.tiny_encoders import arguments_of
from tests.bundles.whole_run import RECIPES, Data, Run, graph_of, prepare
from tests.docs.test_plugins_and_python import walked_through
from tests.medvlp_toolkit.scaffold_packages import put_on_site

#: Kinds of which a recipe takes one, and what it needs beside in ARL, whose losses ask for more than the contracts.
IN_RECIPES = ("encoders", "fusion_modules", "pretext_losses", "report_filters")
NO_MASKING = "losses::masked_image::_disabled_"
NO_PAIR_FEATURE = "losses::matching::_disabled_"


@dataclass(frozen=True)
class Part:
    """A new package: its kind, and the folder that holds its sources and its overlay."""

    kind: str
    folder: Path

    @property
    def overlay(self) -> dict[str, Any]:
        return dict(yaml.safe_load((self.folder / "overlay.yaml").read_text()))

    @property
    def plugin(self) -> str:
        return self.folder.name.replace("-", "_")


def names() -> dict[str, str]:
    """Package -> kind, of what the command writes and of what the page walks through."""
    written = {f"acme-{kind.replace('_', '-')}": kind for kind in IN_RECIPES}
    shown = {name: known_kind(kind) for name, (kind, _, _) in walked_through().items()}
    return {**written, **{name: kind for name, kind in shown.items() if kind in IN_RECIPES}}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Part]]:
    """Every package, written and importable with its entry point."""
    folder = tmp_path_factory.mktemp("packages")
    site, made = folder / "site", {}
    site.mkdir()
    shown = walked_through()
    for name, kind in names().items():
        write_package(name, KINDS[kind], folder)
        made[name] = Part(kind, folder / name)
        if name in shown:
            plugin = made[name].plugin
            (folder / name / "src" / plugin / f"{plugin}.py").write_text(shown[name][1])
        put_on_site(folder / name, site)
    sys.path.insert(0, str(site))
    yield made
    sys.path.remove(str(site))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    store = prepare(tmp_path_factory.mktemp("phantoms"))
    return Data(store, graph_of(store))


def short_of(part: Part, recipe: str) -> dict[str, Any]:
    """What a part cannot do for ARL's losses, left out by one line each."""
    if recipe != "arl":
        return {}
    if part.kind == "encoders" and not mv.encoders[part.plugin]().supports_masking:
        return {NO_MASKING: True}
    return {NO_PAIR_FEATURE: True} if part.kind == "fusion_modules" else {}


def rows() -> list[Any]:
    """Recipe × part; those that are not slow have every kind and both recipes among them."""
    fast = {("acme-encoders", "arl"), ("acme-fusion-modules", "medklip"), ("my-patches", "arl")}
    return [
        pytest.param(name, recipe, id=f"{recipe}-{name}", marks=() if (name, recipe) in fast else pytest.mark.slow)
        for name, kind in names().items()
        for recipe in RECIPES
        if recipe != "kad"  # its parts are MedKLIP's and the contrastive recipe's
        if recipe != "contrastive" or kind in ("encoders", "report_filters")  # nothing in it is fused or queried
    ]


@pytest.mark.parametrize(("name", "recipe"), rows())
def test_a_new_part_trains_evaluates_and_infers(
    name: str, recipe: str, parts: dict[str, Part], data: Data, tmp_path: Path
) -> None:
    part, between = parts[name], []
    overlay = {**part.overlay, "image_size": 64, **short_of(part, recipe)}
    if part.kind == "report_filters":
        store = prepare(tmp_path / "prepared", part.folder / "overlay.yaml", recipe=recipe)
        data, overlay = Data(store, graph_of(store) if recipe == "arl" else data.graph), {"image_size": 64}
        if recipe == "medklip":  # which entities are learnt is the recipe's choice: those that the filter reads
            overlay["trained"] = list(mv.report_filters[part.plugin]().entities)
    if part.kind == "pretext_losses" and recipe == "arl":
        between = ["medklip_losses"]  # the losses that query descriptions of entities
    made = Run(recipe, tmp_path / "run", data, overlay, between)
    made.train()
    made.after("evaluate")
    assert Results.read(made.output / "evaluation").metrics
    data.radiograph(tmp_path / "radiograph.png")
    made.infer(tmp_path / "radiograph.png", tmp_path / "out")
    assert (tmp_path / "out" / "probabilities.csv").is_file()
    if recipe == "medklip":
        assert (tmp_path / "out" / "heat_maps" / "maps.csv").is_file()


# -- what a loss asks of a part --------------------------------------------------------------------


def refused(made: Run, **more: Any) -> str:
    """The one line that a training ends with before its first step."""
    with pytest.raises(Exception) as caught:
        made.train(**more)
    message = user_message(caught.value)
    assert message is not None, f"a traceback: {caught.value.__cause__ or caught.value!r}"
    assert "\n" not in message
    assert not list(made.output.glob("*.pt"))
    return message


def swapped(kind: str, target: str, **arguments: Any) -> dict[str, Any]:
    return {"image_size": 64, kind: {"_target_": target, **arguments}}


def test_an_encoder_that_sees_whole_images_is_refused_by_the_loss_that_leaves_patches_out(
    data: Data, tmp_path: Path
) -> None:
    overlay = swapped("image_encoder", "medvlp_toolkit.encoders.resnet", **arguments_of("resnet"))
    message = refused(Run("arl", tmp_path, data, overlay))
    assert "masked_image" in message
    assert "ResNetTokens" in message
    assert "supports_masking" in message


def test_a_fusion_module_without_a_pair_feature_is_refused_by_the_loss_that_matches(
    parts: dict[str, Part], data: Data, tmp_path: Path
) -> None:
    message = refused(Run("arl", tmp_path, data, {**parts["acme-fusion-modules"].overlay, "image_size": 64}))
    assert "matching" in message
    assert "AcmeFusionModules" in message
    assert "pooled" in message


def test_a_model_without_descriptions_is_refused_by_the_loss_that_asks_them(
    parts: dict[str, Part], data: Data, tmp_path: Path
) -> None:
    message = refused(Run("arl", tmp_path, data, {**parts["acme-pretext-losses"].overlay, "image_size": 64}))
    assert "existence" in message
    assert "entity_bank" in message


def test_a_text_encoder_need_not_say_how_many_words_it_knows(data: Data, tmp_path: Path) -> None:
    """The tokenizer, which the contract names, knows."""
    overlay = swapped("text_encoder", "tests.bundles.foreign_parts.PlainTextEncoder", corpus="@text_corpus")
    made = Run("arl", tmp_path, data, overlay)
    made.train()
    made.after("evaluate")
    assert Results.read(made.output / "evaluation").metrics["pretext"]["masked_token_accuracy"] >= 0


def test_reports_and_descriptions_each_have_a_width_of_their_own() -> None:
    torch.manual_seed(0)
    encoder = mv.encoders.clip_vit(image_size=32, patch_size=16, width=16, layers=1, heads=2, in_channels=1)
    text = mv.encoders.transformers_text(
        config={"model_type": "bert", "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
        corpus=["effusion in the left lung"], vocabulary_size=40,
    )  # fmt: skip
    model = VisionLanguageModel(
        image_encoder=encoder,
        fusion=mv.fusion_modules.entity_query_decoder(16, 1, 2, 32),
        text_encoder=text,
        text_projection=torch.nn.Linear(24, 16),
        entity_bank=torch.randn(5, 40),
        entity_projection=torch.nn.Linear(40, 16),
    )
    words = torch.ones(2, 6, dtype=torch.long)
    assert model.text_tokens(words, words).shape == (2, 6, 16)
    assert model.fuse_entities(model.image_tokens(torch.rand(2, 1, 32, 32))).text.shape == (2, 5, 16)


# -- what costs a picture alone --------------------------------------------------------------------


def said_once(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Log and output name the part that gives no attention in one line, and forget what they said."""
    shown = capsys.readouterr()
    lines = {record.getMessage() for record in caplog.records} | {*shown.out.splitlines(), *shown.err.splitlines()}
    naming = [line for line in lines if name in line and "attention" in line]
    caplog.clear()
    assert len(naming) >= 1, "nothing says why there are no heat maps"
    assert all("\n" not in line for line in naming)


def test_a_fusion_module_without_attention_costs_the_heat_maps_alone(
    data: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    target, name = "tests.bundles.foreign_parts.FusionWithoutAttention", "FusionWithoutAttention"
    made = Run("medklip", tmp_path / "run", data, swapped("fusion", target, width="@width"))
    made.train()
    assert {"best.pt", "model.pt"} <= {path.name for path in made.output.iterdir()}
    assert not (made.output / "attention").exists()
    said_once(caplog, capsys, name)

    made.after("evaluate")
    results = Results.read(made.output / "evaluation")
    assert results.metrics["zero_shot"]["labels"]
    assert not results.metrics.get("grounding", {}).get("groups")
    assert not list((made.output / "evaluation").glob("overlays/*.png"))
    said_once(caplog, capsys, name)

    made.after("evaluate", "probes")
    assert Results.read(made.output / "probes").metrics["probes"]
    said_once(caplog, capsys, name)

    data.radiograph(tmp_path / "radiograph.png")
    made.infer(tmp_path / "radiograph.png", tmp_path / "out")
    assert (tmp_path / "out" / "probabilities.csv").is_file()
    assert not (tmp_path / "out" / "heat_maps").exists()
    said_once(caplog, capsys, name)

    bundle = mv.load_bundle(BUNDLES / "medklip", weights=made.output / "model.pt", device="cpu")
    assert bundle.score(tmp_path / "radiograph.png")
    with pytest.raises(ValueError, match=f"{name} gives no attention"):
        bundle.heat_map(tmp_path / "radiograph.png", "nodule")


# -- what a filter calls a place -------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, kind in names().items() if kind == "report_filters"])
def test_new_filters_name_places_that_the_recipe_knows(name: str, parts: dict[str, Part]) -> None:
    known = set(mv.knowledge_sources.definitions("chest_positions").ids)
    assert set(mv.report_filters[name.replace("-", "_")]().positions) <= known


def test_places_that_the_recipe_does_not_know_are_refused_or_mapped_before_a_store_is_written(tmp_path: Path) -> None:
    overlay = tmp_path / "filter.yaml"
    overlay.write_text("report_filter:\n  _target_: tests.bundles.foreign_parts.FilterOfOtherPlaces\n")
    refusal: BaseException | None = None
    try:
        prepare(tmp_path, overlay, recipe="medklip")
    except Exception as error:
        refusal = error
    if refusal is not None:
        message = user_message(refusal)
        assert message is not None, f"a traceback: {refusal!r}"
        assert "somewhere_" in message
        assert not (tmp_path / "store").exists()
        return
    store = PackedStore.open(tmp_path / "store")
    known = set(mv.knowledge_sources.definitions("chest_positions").ids)
    stored = set(store.table("findings", ["position"]).column("position").to_pylist()) - {None}
    assert stored
    assert stored <= known


# -- what a run selects by -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "nothing_measured"),
    [
        pytest.param("medklip", {"min_positives": 1000}, id="medklip-too-few-positives"),
        pytest.param("medklip", {"val_interval": 2}, id="medklip-no-validation", marks=pytest.mark.slow),
        pytest.param("arl", {"val_interval": 2}, id="arl-no-validation"),
    ],
)
def test_a_run_that_could_not_select_takes_its_last_weights_and_says_so(
    recipe: str, nothing_measured: dict[str, int], data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Run(recipe, tmp_path / "run", data, {"image_size": 64})
    made.train(**nothing_measured)
    said = "".join(capsys.readouterr()).splitlines()
    assert len([line for line in said if "weights of the last epoch" in line and "validation" in line]) == 1, said
    assert (made.output / "model.pt").is_file()
    made.after("evaluate")
    last = torch.load(made.output / "checkpoint_epoch=1.pt", weights_only=True)["model"]
    exported = torch.load(made.output / "model.pt", weights_only=True)
    weight = next(name for name in exported if name.startswith(("image_encoder.", "model.image_encoder.")))
    trained = last[weight if weight.startswith("model.") else f"model.{weight}"]
    torch.testing.assert_close(exported[weight], trained)
    data.radiograph(tmp_path / "radiograph.png")
    made.infer(tmp_path / "radiograph.png", tmp_path / "out")
    assert (tmp_path / "out" / "probabilities.csv").is_file()


# -- what is said twice ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = Run("medklip", tmp_path_factory.mktemp("trained"), data, {"image_size": 64})
    made.train()
    return made


@pytest.mark.parametrize(
    ("given", "both"), [({"width": 96}, ("96", "128")), ({"image_size": 96}, ("96", "64"))], ids=lambda one: str(one)
)
def test_a_value_that_contradicts_the_weights_is_refused_with_both(
    given: dict[str, int], both: tuple[str, str], trained: Run, tmp_path: Path
) -> None:
    trained.data.radiograph(tmp_path / "radiograph.png")
    for attempt in (
        lambda: trained.after("evaluate", results_dir=str(tmp_path / "results"), **given),
        lambda: trained.infer(tmp_path / "radiograph.png", tmp_path / "out", **given),
    ):
        with pytest.raises(Exception) as caught:
            attempt()
        message = user_message(caught.value)
        assert message is not None, f"a traceback: {caught.value!r}"
        assert "\n" not in message
        assert all(value in message for value in (*given, *both))


def test_what_the_weights_say_may_be_repeated_and_other_data_evaluated(trained: Run, tmp_path: Path) -> None:
    """The data are no part of the model."""
    shutil.copytree(trained.data.store, tmp_path / "other")
    where = {"dataset_dir": str(tmp_path / "other"), "results_dir": str(tmp_path / "results")}
    trained.after("evaluate", width=128, image_size=64, **where)
    assert Results.read(tmp_path / "results").metrics["zero_shot"]["labels"]
    assert where["dataset_dir"] in (tmp_path / "results" / "run.json").read_text()
