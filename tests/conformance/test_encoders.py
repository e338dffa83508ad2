"""Every built-in encoder keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

import pytest

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


VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
STAGES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}
SWIN = {"embed_dim": 8, "depths": [1, 1, 1], "num_heads": [2, 2, 2], "window_size": 4}


class TestTransformersVit(ImageEncoderSuite):
    plugin = "transformers_image"
    arguments = {"config": {"model_type": "vit", **VIT, "intermediate_size": 64, "image_size": 64, "patch_size": 16}}
    image_shapes = ((3, 64, 64), (3, 80, 48), (1, 64, 64))


class TestTransformersDinoV2(ImageEncoderSuite):
    plugin = "transformers_image"
    arguments = {"config": {"model_type": "dinov2", **VIT, "image_size": 56, "patch_size": 14}}
    image_shapes = ((3, 56, 56), (3, 80, 64), (1, 56, 56))


class TestTransformersDinoV2WithRegisters(ImageEncoderSuite):
    plugin = "transformers_image"
    arguments = {
        "config": {"model_type": "dinov2_with_registers", **VIT, "num_register_tokens": 2, "image_size": 56},
        "in_channels": 1,
    }
    image_shapes = ((1, 56, 56), (1, 84, 42))


class TestTransformersClip(ImageEncoderSuite):
    plugin = "transformers_image"
    arguments = {
        "config": {
            "model_type": "clip_vision_model", **VIT, "intermediate_size": 64, "image_size": 64, "patch_size": 16,
        }
    }  # fmt: skip
    image_shapes = ((3, 64, 64), (3, 80, 48))


class TestTransformersSiglip(ImageEncoderSuite):
    plugin = "transformers_image"
    arguments = {
        "config": {
            "model_type": "siglip_vision_model", **VIT, "intermediate_size": 64, "image_size": 64, "patch_size": 16,
        }
    }  # fmt: skip
    image_shapes = ((3, 64, 64), (3, 80, 48))


class TestTransformersSwin(ImageEncoderSuite):
    plugin = "transformers_image"
    arguments = {"config": {"model_type": "swin", **SWIN, "image_size": 64}}
    image_shapes = ((3, 64, 64), (3, 96, 64), (1, 64, 64))


class TestTransformersSwinOfTwoStages(ImageEncoderSuite):
    plugin = "transformers_image"
    arguments = {"config": {"model_type": "swin", **SWIN, "image_size": 64}, "token_stride": 8}


class TestTransformersConvNeXt(ImageEncoderSuite):
    plugin = "transformers_image"
    arguments = {"config": {"model_type": "convnext", **STAGES}}
    image_shapes = ((3, 64, 64), (3, 96, 64), (1, 64, 64))


class TestTransformersConvNeXtOfThreeStages(ImageEncoderSuite):
    plugin = "transformers_image"
    arguments = {"config": {"model_type": "convnext", **STAGES}, "token_stride": 16, "in_channels": 1}
    image_shapes = ((1, 64, 64),)


class TestTransformersResNet(ImageEncoderSuite):
    plugin = "transformers_image"
    arguments = {
        "config": {"model_type": "resnet", **STAGES, "embedding_size": 8, "layer_type": "basic"},
        "token_stride": 16,
    }
    image_shapes = ((3, 64, 64), (3, 65, 97), (1, 64, 64))


DENSE = {"name": "DenseNet", "init_features": 8, "growth_rate": 4, "block_config": [2, 2, 2]}


class TestMonaiDenseNet(ImageEncoderSuite):
    plugin = "monai_net"
    arguments = DENSE
    image_shapes = ((3, 64, 64), (3, 65, 97), (1, 64, 64))


class TestMonaiVolumeDenseNet(ImageEncoderSuite):
    plugin = "monai_net"
    arguments = {**DENSE, "spatial_dims": 3, "in_channels": 1, "image_size": 32, "token_stride": 8}
    image_shapes = ((1, 32, 32, 32), (1, 40, 32, 48))


class TestMonaiEfficientNet(ImageEncoderSuite):
    plugin = "monai_net"
    arguments = {
        "name": "EfficientNet",
        "blocks_args_str": ["r1_k3_s11_e1_i32_o16_se0.25", "r1_k3_s22_e6_i16_o24_se0.25"],
        "width_coefficient": 0.25,
        "drop_connect_rate": 0.0,
        "image_size": 64,
    }
    image_shapes = ((3, 64, 64), (3, 96, 64))


class TestMonaiVit(ImageEncoderSuite):
    plugin = "monai_net"
    arguments = {"name": "ViT", "hidden_size": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 32, "image_size": 64}
    image_shapes = ((3, 64, 64), (3, 96, 64), (1, 64, 64))


class TestMonaiSwin(ImageEncoderSuite):
    plugin = "monai_net"
    arguments = {
        "name": "SwinTransformer",
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [2, 2, 2, 2],
        "window_size": 4,
        "image_size": 64,
        "token_stride": 16,
    }
    image_shapes = ((3, 64, 64), (3, 96, 64))


class TestMonaiVolumeSwinUNETR(ImageEncoderSuite):
    plugin = "monai_net"
    arguments = {
        "name": "SwinUNETR",
        "spatial_dims": 3,
        "in_channels": 1,
        "feature_size": 12,
        "depths": [1, 1, 1, 1],
        "image_size": 32,
    }
    image_shapes = ((1, 32, 32, 32),)


class TestEfficientNetLite(ImageEncoderSuite):
    plugin = "efficientnet_lite"
    arguments = {"width": 0.25, "token_stride": 16}
    image_shapes = ((3, 64, 64), (3, 65, 97), (1, 64, 64))


class TestTimmVit(ImageEncoderSuite):
    plugin = "timm_model"
    arguments = {"name": "vit_tiny_patch16_224", "image_size": 64, "depth": 2}
    image_shapes = ((3, 64, 64), (3, 96, 64))

    @pytest.fixture(autouse=True)
    def _library(self) -> None:
        pytest.importorskip("timm", reason="pip install 'medvlp-encoders[timm]'")


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
