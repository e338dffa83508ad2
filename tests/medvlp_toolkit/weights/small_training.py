"""A training of a small model as a bundle composes it, and what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from medvlp_toolkit.weights.description import Description

TRAINING = """
bundle_root: nowhere
dataset_dir: data
corpus_file: "$@dataset_dir + '/corpus.txt'"
texts: "$open(@corpus_file, encoding='utf-8').read().splitlines()"
names: [effusion, edema]
width: 8
patch: 4
image_size: 16
image_encoder:
  _target_: medvlp_toolkit.encoders.clip_vit
  image_size: "@image_size"
  patch_size: "@patch"
  width: "@width"
  layers: 1
  heads: 2
  in_channels: 1
text_encoder:
  _target_: medvlp_toolkit.encoders.transformers_text
  config: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}
  corpus: "@texts"
tokens: $@image_encoder.rows * @image_encoder.columns
bank: $torch.ones(len(@names), @width)
head:
  _target_: torch.nn.Linear
  in_features: $@image_encoder.num_features
  out_features: $len(@names)
network_def:
  _target_: torch.nn.ModuleDict
  modules: {image: "@image_encoder", text: "@text_encoder", head: "@head", tokens: "$torch.nn.Linear(@tokens, 1)",
    bank: "$torch.nn.ParameterList([@bank])"}
scored_entities: $list(@names)
evaluation_transform:
  _target_: medvlp_toolkit.data.EvaluationTransform
  image_size: "@image_size"
  mean: [0.5]
  std: [0.25]
optimizer: "$torch.optim.SGD(@network_def.parameters(), lr=@learning_rate)"
learning_rate: 0.1
"""
#: What a report might say; a patient's own words must not travel with the weights.
SENTENCES = ("Mr Smith has an effusion.", "unremarkable pleural spaces")


def bundle(folder: Path) -> Path:
    """A folder with ``configs/train.yaml`` and the data that it reads."""
    (folder / "configs").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "configs" / "train.yaml").write_text(TRAINING)
    (folder / "data" / "corpus.txt").write_text("\n".join(SENTENCES))
    return folder


def composed(folder: Path, **overrides: Any) -> Any:
    """The bundle's training, its network built."""
    from monai.bundle import ConfigParser

    config = {**yaml.safe_load((folder / "configs" / "train.yaml").read_text()), "dataset_dir": str(folder / "data")}
    parser = ConfigParser({**config, **overrides})
    torch.manual_seed(0)
    parser.get_parsed_content("network_def")
    return parser


def trained(folder: Path, **overrides: Any) -> Path:
    """The weights of a training, with their description beside them; its bundle and data are gone."""
    import shutil

    parser = composed(bundle(folder / "bundle"), **overrides)
    (folder / "run").mkdir()
    torch.save({"model": parser.get_parsed_content("network_def").state_dict()}, folder / "run" / "best.pt")
    Description.of(parser).write(folder / "run")
    shutil.rmtree(folder / "bundle")
    return folder / "run" / "best.pt"
