"""The encodings of a batch in one step: every tower and fused feature, computed at most once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp_toolkit.interfaces import (
    ChoosesKnowledge,
    ComputesParts,
    FusedPart,
    FusionOutput,
    ImageView,
    Knowledge,
    TextView,
)
from medvlp_toolkit.model.vision_language import VisionLanguageModel


class Encodings:
    """The encodings of a batch in one step: every tower and fused feature, computed once, on first use.

    Losses receive it as :class:`medvlp_toolkit.interfaces.Encodings` and so share work without depending on each other.
    Submodules are called through ``__call__`` only, so that hooks (DDP, FSDP, profilers) run. Results are kept in a
    plain dict, which can be compiled, unlike cached properties.

    Args:
        share: False recomputes everything at each request and in full (every layer and every output of the fusion
            module, used or not), as published code does.
        mask_ratio: share of the patches that the masked image view leaves out (He et al. 2022: 0.75).
    """

    def __init__(
        self, model: VisionLanguageModel, batch: Mapping[str, Any], share: bool = True, mask_ratio: float = 0.75
    ) -> None:
        self.model = model
        self.batch = batch
        self.share = share
        self.mask_ratio = mask_ratio
        self._computed: dict[Any, Any] = {}

    def image_tokens(self, view: ImageView = "full") -> Tensor:
        """(B, N, D) projected tokens of the batch's image, or of another view of it.

        ``masked`` keeps the patches of lowest noise; ``negative`` is the image of a mismatched pair; ``matching`` is
        the image paired with each report: its own where ``is_pair``, else the negative; ``report`` is the report's
        summary as the only token, for losses that use it in place of the image.
        """
        return self._once(("image", view), lambda: self._image_tokens(view))

    def text_tokens(self, view: Literal["report", "masked"] = "report") -> Tensor:
        """(B, L, D) projected tokens of the report, or of the report with masked tokens."""
        return self._once(("text", view), lambda: self.model.text_projection(self._text_features(view)))

    def image_summary(self) -> Tensor:
        """(B, D): the image before fusion, as its encoder sums up tokens."""
        summary: Tensor = self.model.image_encoder.summary(self.image_tokens())  # type: ignore[operator]
        return summary

    def text_summary(self) -> Tensor:
        """(B, D): the report before fusion, its class token, else the mean over the tokens that are no padding."""
        mask = self.batch["attention_mask"]
        return self._once(("text summary",), lambda: self.model.text_summary(self._text_features("report"), mask))

    def _text_features(self, view: Literal["report", "masked"]) -> Tensor:
        ids = self.batch["input_ids" if view == "report" else "masked_input_ids"]
        return self._once(("text features", view), lambda: self.model.text_features(ids, self.batch["attention_mask"]))

    def entity_embeddings(self) -> Tensor:
        """(E, Dk) from the knowledge graph, else (Q, D) from the entity bank."""
        return self._once(("entities",), self.model.entity_embeddings)

    def linked_entity_embeddings(self, prefix: Literal["", "masked_"] = "") -> Tensor:
        """(B, M, Dk) of the entities linked to each report; padding is zero.

        Raises:
            ValueError: on the CPU, when an entity is not in the graph.
        """
        linked = self.batch[f"{prefix}linked_entities"].to(torch.long)
        embeddings = self.entity_embeddings()
        # On a GPU this check would synchronise; the data set has already checked.
        if linked.device.type == "cpu" and not torch.compiler.is_compiling() and linked.numel():
            highest = int(linked.max())
            if highest >= embeddings.shape[0]:
                raise ValueError(
                    f"{prefix}linked_entities names entity {highest}, and the knowledge graph has entities 0 to "
                    f"{embeddings.shape[0] - 1}; link the reports with the graph that the model was built with"
                )
        gathered = F.embedding(linked.clamp(min=0), embeddings)
        return gathered * (linked >= 0).unsqueeze(-1).to(gathered.dtype)

    def fused(
        self,
        text: TextView = "report",
        image: ImageView = "full",
        stop_after: int = -1,
        compute: FusedPart = "all",
    ) -> FusionOutput:
        """The fusion module's output for one pairing of text and image views.

        Args:
            stop_after: n >= 0 returns the features after n layers.
            compute: the only part of the output that will be used; modules that can skip the rest do.
        """
        if self.share and ("fused", text, image, stop_after, "all") in self._computed:
            compute = "all"  # already computed for another loss
        key = ("fused", text, image, stop_after, compute)
        return self._once(key, lambda: self._fused(text, image, stop_after, compute))

    # -- computation --------------------------------------------------------------------------

    def _once(self, key: Any, compute: Any) -> Any:
        if not self.share:
            return compute()
        if key not in self._computed:
            self._computed[key] = compute()
        return self._computed[key]

    def _image_tokens(self, view: ImageView) -> Tensor:
        if view == "report":
            return self.text_summary().unsqueeze(1)
        if view == "masked":
            noise = self.batch["patch_noise"]  # (B, N): the patches with the lowest values are kept
            seen = max(1, int(noise.shape[1] * (1 - self.mask_ratio)))
            return self.model.image_tokens(self.batch["image"], noise.argsort(dim=1)[:, :seen])
        if view == "matching":
            is_pair = self.batch["is_pair"].to(torch.bool)
            if self.share:
                return _each_its_own(is_pair, self.image_tokens("full"), self.image_tokens("negative"))
            return self.model.image_tokens(_each_its_own(is_pair, self.batch["image"], self.batch["negative_image"]))
        return self.model.image_tokens(self.batch["image" if view == "full" else "negative_image"])

    def _fused(self, text: TextView, image: ImageView, stop_after: int, compute: FusedPart) -> FusionOutput:
        image_tokens = self.image_tokens(image)
        if text == "entities":
            return self.model.fuse_entities(image_tokens)
        prefix = "" if text == "report" else "masked_"
        fusion = self.model.fusion
        knowledge = None
        read = self.model.knowledge_encoder is not None and reads_knowledge(fusion)
        if read and f"{prefix}linked_entities" in self.batch:
            embeddings = self.linked_entity_embeddings("masked_" if prefix else "")
            mask = self.batch[f"{prefix}linked_entities"] >= 0
            knowledge = Knowledge(embeddings, mask, self.batch[f"{prefix}linked_entity_alignment"])
        options: dict[str, Any] = {}
        if computes_parts(fusion):
            options["compute"] = compute if self.share else "published"
        fused: FusionOutput = fusion(
            image_tokens,
            self.text_tokens(text),
            text_mask=self.batch["attention_mask"],
            knowledge=knowledge,
            stop_after=stop_after,
            **options,
        )
        return fused


def reads_knowledge(fusion: object) -> bool:
    """Whether linked entities are embedded for a fusion module: yes, unless it declares that it ignores them."""
    return not isinstance(fusion, ChoosesKnowledge) or fusion.reads_knowledge


def computes_parts(fusion: object) -> bool:
    """Whether a fusion module can compute only a part of its output."""
    return isinstance(fusion, ComputesParts) and fusion.computes_parts


def _each_its_own(is_pair: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """(B, …) rows of ``own`` where ``is_pair`` (B,), else of ``other``.

    ``other`` has a row for each row of the batch, or, to save encoding, only for each mismatched row in order.
    """
    if other.shape[0] != own.shape[0]:
        place = (is_pair.logical_not().cumsum(0) - 1).clamp(min=0, max=other.shape[0] - 1)
        other = other[place]
    return torch.where(is_pair.view(-1, *([1] * (own.ndim - 1))), own, other)
