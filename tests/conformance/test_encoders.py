"""Every built-in encoder keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

from medvlp_toolkit.testing import ImageEncoderSuite, TextEncoderSuite

SMALL = {"depth": 10, "widths": (8, 16, 24)}
CORPUS = (
    "There is a small left pleural effusion.",
    "No pneumothorax. The heart is enlarged, and the lungs are clear.",
    "Normal.",
)


class TestResNet(ImageEncoderSuite):
    plugin = "resnet"
    arguments = SMALL
    image_shapes = ((3, 64, 64), (3, 65, 97), (1, 48, 48))
    torchscript = True


class TestBottleneckResNet(ImageEncoderSuite):
    plugin = "resnet"
    arguments = {"depth": 50, "widths": (8, 8, 8), "strides": (1, 2, 1), "pointwise_stages": (3,)}
    torchscript = True


class TestVolumeResNet(ImageEncoderSuite):
    plugin = "resnet"
    arguments = {**SMALL, "spatial_dims": 3, "in_channels": 1}
    image_shapes = ((1, 32, 32, 32), (1, 40, 32, 48))
    torchscript = True


class TestClipVit(ImageEncoderSuite):
    plugin = "clip_vit"
    arguments = {"image_size": 64, "patch_size": 16, "width": 32, "layers": 2, "heads": 2}
    image_shapes = ((3, 64, 64), (3, 80, 48), (1, 64, 64))
    torchscript = True


class TestClipVitOfOddShape(ImageEncoderSuite):
    plugin = "clip_vit"
    arguments = {"image_size": (32, 48), "patch_size": 8, "width": 24, "layers": 1, "heads": 3, "in_channels": 1}
    image_shapes = ((1, 32, 48),)
    torchscript = True


class TestTransformersText(TextEncoderSuite):
    plugin = "transformers_text"
    arguments = {
        "config": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
        "corpus": CORPUS,
    }


class TestTransformersRoberta(TextEncoderSuite):
    plugin = "transformers_text"
    arguments = {
        "config": {
            "model_type": "roberta",
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "max_position_embeddings": 70,
        },
        "corpus": CORPUS,
    }
