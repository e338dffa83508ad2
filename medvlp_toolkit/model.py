"""The model, one step's view of a batch, and the weighted sum of losses that training optimises.

Read top to bottom: :class:`VisionLanguageModel` owns the parts, :class:`Encodings` computes each of
them at most once per step, :class:`PretrainingModel` turns a batch into losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_toolkit.interfaces import FusionOutput, Knowledge

ImageView = Literal["full", "masked", "negative", "matching"]
TextView = Literal["report", "masked", "entities"]
FusedPart = Literal["all", "text", "image", "pooled"]


class VisionLanguageModel(nn.Module):
    """The parts of a vision-language model and how they feed one another.

    Args:
        image_encoder: (B, C, *spatial) -> (B, N, Di).
        fusion: lets image tokens and text tokens, or entity queries, see one another.
        image_projection: (…, Di) -> (…, D); identity when None.
        text_encoder: (B, L) tokens -> (B, L, Dt); None for models that read no report.
        text_projection: (…, Dt) -> (…, D), for report tokens and for the entity bank; identity when None.
        knowledge_encoder: () -> (E, Dk) embeddings of a knowledge graph's entities.
        entity_bank: (Q, Dt) frozen embeddings of entity descriptions, kept as a buffer: the text model
            that made them is no part of this model.
    """

    entity_bank: Tensor | None

    def __init__(
        self,
        image_encoder: nn.Module,
        fusion: nn.Module,
        image_projection: nn.Module | None = None,
        text_encoder: nn.Module | None = None,
        text_projection: nn.Module | None = None,
        knowledge_encoder: nn.Module | None = None,
        entity_bank: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.image_projection = image_projection if image_projection is not None else nn.Identity()
        self.text_encoder = text_encoder
        self.text_projection = text_projection if text_projection is not None else nn.Identity()
        self.knowledge_encoder = knowledge_encoder
        self.fusion = fusion
        self.register_buffer("entity_bank", entity_bank)

    def image_tokens(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, C, *spatial) -> (B, N, D)."""
        features = self.image_encoder(image) if keep is None else self.image_encoder(image, keep)
        projected: Tensor = self.image_projection(features)
        return projected

    def text_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)."""
        if self.text_encoder is None:
            raise ValueError("this model has no text_encoder, and a loss asks for report tokens; add a text_encoder")
        projected: Tensor = self.text_projection(self.text_encoder(input_ids, attention_mask))
        return projected

    def entity_embeddings(self) -> Tensor:
        """Embeddings of the knowledge: the graph's entities (E, Dk), else the entity queries (Q, D)."""
        if self.knowledge_encoder is not None:
            graph: Tensor = self.knowledge_encoder()
            return graph
        if self.entity_bank is None:
            raise ValueError("this model has neither a knowledge_encoder nor an entity_bank; give one of them")
        queries: Tensor = self.text_projection(self.entity_bank)
        return queries

    def fuse_entities(self, image_tokens: Tensor, need_attention: bool = False) -> FusionOutput:
        """Let every entity of the bank query the image: (B, N, D) -> text (B, Q, D)."""
        if self.entity_bank is None:
            raise ValueError("entity queries need an entity_bank; encode descriptions with medvlp_toolkit.entity_bank")
        queries = self.text_projection(self.entity_bank)
        # An expanded view, not a copy: a fusion module sees by its stride that all rows are equal.
        queries = queries.unsqueeze(0).expand(image_tokens.shape[0], -1, -1)
        fused: FusionOutput = self.fusion(image_tokens, queries, need_attention=need_attention)
        return fused


class Encodings:
    """One step's view of a batch: every tower and every fused feature computed on first use, once.

    Losses share work without knowing each other. Submodules are called through ``__call__`` only, so
    that hooks (DDP, FSDP, profilers) see them. Results sit in a plain dict: that compiles, cached
    properties do not.

    Args:
        share: False computes everything anew at each request, as published code does, and whole: every layer and
            every part of the fusion module, whatever is read of it.
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

        ``masked`` shows the patches of lowest noise; ``negative`` is the image of a pair that does not belong
        together; ``matching`` is the one that each report meets: its own where ``is_pair``, else the negative.
        """
        return self._once(("image", view), lambda: self._image_tokens(view))

    def text_tokens(self, view: Literal["report", "masked"] = "report") -> Tensor:
        """(B, L, D) projected tokens of the report, or of the report with masked tokens."""
        ids = "input_ids" if view == "report" else "masked_input_ids"
        return self._once(("text", view), lambda: self.model.text_tokens(self.batch[ids], self.batch["attention_mask"]))

    def image_summary(self) -> Tensor:
        """(B, D): the image before fusion, its first token where the encoder has a class token, else their mean."""
        tokens = self.image_tokens()
        return tokens[:, 0] if getattr(self.model.image_encoder, "num_prefix_tokens", 0) else tokens.mean(dim=1)

    def text_summary(self) -> Tensor:
        """(B, D): the report before fusion, its first token where the encoder has a class token, else their mean."""
        tokens = self.text_tokens()
        if getattr(self.model.text_encoder, "num_prefix_tokens", 0):
            return tokens[:, 0]
        real = self.batch["attention_mask"].to(tokens.dtype).unsqueeze(-1)
        return (tokens * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)

    def entity_embeddings(self) -> Tensor:
        """(E, Dk) of the knowledge graph, else (Q, D) of the entity bank."""
        return self._once(("entities",), self.model.entity_embeddings)

    def linked_entity_embeddings(self, prefix: Literal["", "masked_"] = "") -> Tensor:
        """(B, M, Dk) of the entities linked to each report; padding is zero.

        Raises:
            ValueError: on the CPU, when an entity is not in the graph.
        """
        linked = self.batch[f"{prefix}linked_entities"].to(torch.long)
        embeddings = self.entity_embeddings()
        # On a device the check would wait for it; what draws the batch has made it by then.
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
            stop_after: n >= 0 gives the features after n layers.
            compute: the only part of the output that will be read; modules that can leave out the others do.
        """
        if self.share and ("fused", text, image, stop_after, "all") in self._computed:
            compute = "all"  # done already, for someone who reads more
        key = ("fused", text, image, stop_after, compute)
        return self._once(key, lambda: self._fused(text, image, stop_after, compute))

    # -- how ----------------------------------------------------------------------------------

    def _once(self, key: Any, compute: Any) -> Any:
        if not self.share:
            return compute()
        if key not in self._computed:
            self._computed[key] = compute()
        return self._computed[key]

    def _image_tokens(self, view: ImageView) -> Tensor:
        if view == "masked":
            noise = self.batch["patch_noise"]  # (B, N): the patches with the lowest values are seen
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
        reads_knowledge = self.model.knowledge_encoder is not None and getattr(fusion, "reads_knowledge", True)
        if reads_knowledge and f"{prefix}linked_entities" in self.batch:
            embeddings = self.linked_entity_embeddings("masked_" if prefix else "")
            mask = self.batch[f"{prefix}linked_entities"] >= 0
            knowledge = Knowledge(embeddings, mask, self.batch[f"{prefix}linked_entity_alignment"])
        options: dict[str, Any] = {}
        if getattr(fusion, "computes_parts", False):
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


def _each_its_own(is_pair: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """(B, …) rows of ``own`` where ``is_pair`` (B,), else of ``other``.

    ``other`` has a row for each of the batch, or one for each row that is no pair, in their order: then no image is
    encoded in vain.
    """
    if other.shape[0] != own.shape[0]:
        place = (is_pair.logical_not().cumsum(0) - 1).clamp(min=0, max=other.shape[0] - 1)
        other = other[place]
    return torch.where(is_pair.view(-1, *([1] * (own.ndim - 1))), own, other)


class PretrainingModel(nn.Module):
    """Model and named, weighted losses: what the trainer, DDP and ``torch.compile`` wrap.

    ``forward(batch)`` returns ``{"loss": total, "<name>": …}``, every entry a scalar. Each loss's sum
    is divided by its count over *all* ranks, times the number of ranks: DDP averages gradients over
    ranks, so that N ranks give the gradient of one rank with the whole batch. Parts of the model that
    no loss reads are frozen.

    Args:
        model: the parts.
        losses: name -> loss module with ``needs``, ``reads`` and ``head``.
        weights: name -> weight in the total; 1 where not given.
        share_encodings: False repeats the published passes (see :class:`Encodings`).
        mask_ratio: of the masked image view.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        losses: Mapping[str, nn.Module],
        weights: Mapping[str, float] | None = None,
        share_encodings: bool = True,
        mask_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        if not losses:
            raise ValueError("PretrainingModel needs at least one loss; give losses as {name: loss}")
        weights = dict(weights or {})
        unknown = sorted(set(weights) - set(losses))
        if unknown:
            raise ValueError(f"weights given for {', '.join(unknown)}; the losses are {', '.join(losses)}")
        if "loss" in losses:
            raise ValueError("a loss may not be named 'loss': that is the name of the weighted total")
        self.model = model
        self.losses = nn.ModuleDict(losses)
        self.weights = {name: float(weights.get(name, 1.0)) for name in losses}
        self.share_encodings = share_encodings
        self.mask_ratio = mask_ratio
        self._freeze_unread_parts()

    def _freeze_unread_parts(self) -> None:
        # A parameter without gradient on every rank makes DDP wait for it; one that is never read is frozen instead.
        read: set[str] = set().union(*(loss.reads for loss in self.losses.values()))  # type: ignore[arg-type]
        for name, part in self.model.named_children():
            if name not in read:
                part.requires_grad_(False)

    @property
    def needs(self) -> frozenset[str]:
        """Batch keys that the losses read."""
        return frozenset().union(*(loss.needs for loss in self.losses.values()))  # type: ignore[arg-type]

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        missing = sorted(self.needs - set(batch))
        if missing:
            raise ValueError(
                f"the batch lacks {', '.join(missing)}, which the losses {', '.join(self.losses)} read; "
                f"it holds {', '.join(sorted(batch))}"
            )
        encodings = Encodings(self.model, batch, self.share_encodings, self.mask_ratio)
        terms = {name: loss(encodings) for name, loss in self.losses.items()}
        sums = [total for total, _ in terms.values()]
        counts = torch.stack([count.to(torch.float32) for _, count in terms.values()])
        scales = _scale_over_ranks(counts)
        output: dict[str, Tensor] = {}
        loss = sums[0].new_zeros(())
        for index, (name, total) in enumerate(zip(terms, sums, strict=True)):
            output[name] = total * scales[index]
            loss = loss + self.weights[name] * output[name]
        return {"loss": loss, **output}


def _scale_over_ranks(counts: Tensor) -> Tensor:
    """(n,) local counts -> (n,) factors: world size over the count of all ranks, 0 where nothing counted."""
    counts = counts.detach().clone()
    world = 1
    if dist.is_available() and dist.is_initialized():
        world = dist.get_world_size()
        dist.all_reduce(counts)
    return torch.where(counts > 0, world / counts.clamp(min=1), torch.zeros_like(counts))
