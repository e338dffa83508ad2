"""Faults of the published training and evaluation scripts that the bundle does not share."""

from __future__ import annotations

from pathlib import Path

import torch

from medvlp_toolkit.engines.device import to_device
from tests.bundles.running import demo_overrides, make_workflow


def test_validation_sees_every_study_once_and_without_augmentation(demo_run: Path, elsewhere: Path) -> None:
    """Published: augmented as in training, shuffled, the last batch dropped."""
    workflow = make_workflow("train", "demo", **demo_overrides(demo_run, output_dir="run", batch_size=7))
    dataset = workflow.parser.get_parsed_content("validate::dataset")
    batches = list(workflow.parser.get_parsed_content("validate::loader"))
    assert len(dataset) % 7 != 0
    assert [row for batch in batches for row in batch["row"].tolist()] == dataset.rows.tolist()
    transform = workflow.parser.get_parsed_content("validate::step").transform
    other = {**batches[0], "augmentation_draws": torch.rand_like(batches[0]["augmentation_draws"])}
    assert torch.equal(transform(batches[0])["image"], transform(other)["image"])


def test_evaluation_drops_no_study(demo_run: Path, elsewhere: Path) -> None:
    overrides = demo_overrides(demo_run, batch_size=5, results_dir="results", grid=[8, 8])
    workflow = make_workflow("evaluate", "demo", workflow_type="infer", **overrides)
    dataset = workflow.parser.get_parsed_content("dataset")
    assert len(dataset) % 5 != 0
    assert sum(len(batch["row"]) for batch in workflow.parser.get_parsed_content("loader")) == len(dataset)


def test_a_batch_of_one_is_trained_on_and_scored(demo_run: Path, elsewhere: Path) -> None:
    """Published: squeezed away."""
    workflow = make_workflow("train", "demo", **demo_overrides(demo_run, output_dir="run", batch_size=1))
    network, device = workflow.parser.get_parsed_content("network"), torch.device("cpu")
    step = workflow.parser.get_parsed_content("train::step")
    batch = next(iter(workflow.parser.get_parsed_content("train::loader")))
    losses = network.train()(step.transform(to_device(batch, device)))
    losses["loss"].backward()
    assert all(bool(torch.isfinite(value)) for value in losses.values())
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters() if p.grad is not None)
    scorer = workflow.network_def.eval()
    image = workflow.parser.get_parsed_content("evaluation_transform")(batch)["image"]
    assert scorer(image).shape == (1, 7)
    torch.testing.assert_close(scorer(image), scorer(torch.cat([image, image.flip(-1)]))[:1])


def test_a_batch_without_any_present_entity_gives_finite_losses_and_gradients(demo_run: Path, elsewhere: Path) -> None:
    """Published: the position loss averages over nothing and is NaN."""
    workflow = make_workflow("train", "demo", **demo_overrides(demo_run, output_dir="run"))
    network = workflow.parser.get_parsed_content("network").train()
    step = workflow.parser.get_parsed_content("train::step")
    batch = dict(next(iter(workflow.parser.get_parsed_content("train::loader"))))
    for value in (0, -1):  # everything absent, then nothing mentioned
        batch["entity_presence"] = torch.full_like(batch["entity_presence"], value)
        network.zero_grad()
        losses = network(step.transform(batch))
        losses["loss"].backward()
        assert losses["position"].item() == 0
        assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters() if p.grad is not None)
