"""The contracts of the plugin kinds, and the tensors that pass between them.

Symbols in shapes: B batch, C channels, N image tokens, L text tokens, Q entity queries, P positions,
K candidates or masked tokens, M linked entities, E graph entities, D width of the fused space.

Contracts define what every part of the toolkit may rely on. Optional capabilities are small protocols (``ShiftsTokens``
…), which callers detect with ``isinstance`` and the conformance suites check. Attributes that are numbers or booleans
are plain attributes of the module.

The batch is a dict with keys of :data:`BATCH` (:mod:`medvlp_toolkit.data.batches.batch_table`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Optional, Protocol, runtime_checkable

from torch import Tensor, nn

from medvlp_toolkit.data.batches.batch_table import ABSENT as ABSENT
from medvlp_toolkit.data.batches.batch_table import BATCH as BATCH
from medvlp_toolkit.data.batches.batch_table import BATCH_KEYS as BATCH_KEYS
from medvlp_toolkit.data.batches.batch_table import NOT_MENTIONED as NOT_MENTIONED
from medvlp_toolkit.data.batches.batch_table import PRESENT as PRESENT
from medvlp_toolkit.data.batches.batch_table import UNCERTAIN as UNCERTAIN
from medvlp_toolkit.data.contracts import Batched as Batched
from medvlp_toolkit.data.contracts import CountsMissing as CountsMissing
from medvlp_toolkit.data.contracts import DataSource as DataSource
from medvlp_toolkit.data.contracts import Fingerprinted as Fingerprinted
from medvlp_toolkit.data.contracts import KnowledgeSource as KnowledgeSource
from medvlp_toolkit.data.contracts import LanguageAware as LanguageAware
from medvlp_toolkit.data.contracts import ReadsImages as ReadsImages
from medvlp_toolkit.data.contracts import ReadsMasks as ReadsMasks
from medvlp_toolkit.data.contracts import ReadsSections as ReadsSections
from medvlp_toolkit.data.contracts import RejectsRecords as RejectsRecords
from medvlp_toolkit.data.contracts import ReportFilter as ReportFilter
from medvlp_toolkit.data.contracts import StartsWithin as StartsWithin
from medvlp_toolkit.data.contracts import Tallying as Tallying

#: Views of a batch's image and text that :class:`Encodings` offers, and the parts of a fused output.
ImageView = Literal["full", "masked", "negative", "matching", "report"]
TextView = Literal["report", "masked", "entities"]
FusedPart = Literal["all", "text", "image", "pooled"]


# NamedTuples with every field annotated script in TorchScript (dataclasses do not), and TorchScript
# resolves `Optional[...]` but not `... | None` inside them.
class Knowledge(NamedTuple):
    """Linked entities as input of a fusion module.

    ``embeddings`` (B, M, Dk); ``mask`` (B, M) True where there is an entity; ``alignment`` (B, M, L)
    1 where entity m covers token l.
    """

    embeddings: Tensor
    mask: Tensor
    alignment: Tensor


class FusionOutput(NamedTuple):
    """The output of a fusion module.

    ``image`` (B, N, D) and ``text`` (B, L or Q, D) features; ``pooled`` (B, Dp) pair feature or None;
    ``attention`` (B, layers, L or Q, N), each text token's attention over image tokens averaged over
    heads, or None if it was not requested.
    """

    image: Tensor
    text: Tensor
    pooled: Optional[Tensor]  # noqa: UP045 - TorchScript
    attention: Optional[Tensor]  # noqa: UP045 - TorchScript


@runtime_checkable
class ImageEncoder(Protocol):
    """``forward(image (B, C, *spatial), keep: Optional (B, K)) -> (B, N, num_features)``.

    ``keep`` contains the indices of the patches in a masked pass; it is allowed if ``supports_masking``. An encoder may
    also implement :class:`ShiftsTokens`.
    """

    num_features: int
    num_prefix_tokens: int
    supports_masking: bool

    def grid_size(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Tokens per spatial axis for an image of ``image_shape`` (spatial axes only)."""
        ...

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, D): the prefix token, else the mean."""
        ...

    def __call__(self, image: Tensor, keep: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class ShiftsTokens(Protocol):
    """An image encoder whose tokens are not centred in their grid cells; heat maps are shifted accordingly."""

    def token_shift(self) -> tuple[float, ...]:
        """Per axis, in cells: the offset of a token's receptive field from the centre of its cell."""
        ...


@runtime_checkable
class GivesFeatureMaps(Protocol):
    """An image encoder whose stages provide skip connections for segmentation networks.

    ``feature_channels`` and ``feature_strides`` have an entry for each map: its channels and its stride relative to the
    image. ``in_channels`` is the number of image channels (a single channel is repeated), ``spatial_dims`` its axes.
    """

    spatial_dims: int
    in_channels: int
    feature_channels: Sequence[int]
    feature_strides: Sequence[int]

    def feature_maps(self, image: Tensor) -> list[Tensor]:
        """(B, C, *spatial) -> maps (B, feature_channels[i], *spatial / feature_strides[i]), finest first."""
        ...


@runtime_checkable
class FitsPositions(Protocol):
    """A module with a parameter ``positional_embedding`` that can be resampled to its own image size."""

    def fit_positions(self, positions: Tensor) -> Tensor:
        """Position embeddings (N', D) of another image size -> (N, D)."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """``forward(input_ids (B, L), attention_mask (B, L)) -> (B, L, num_features)``.

    ``tokenizer`` is a fast tokenizer of transformers, or compatible with one: called with texts, it returns
    ``input_ids`` and ``attention_mask``. ``len(tokenizer)`` is the size of its vocabulary, and the encoder accepts
    every id below it. Losses over the vocabulary are built with that size.
    """

    num_features: int
    num_prefix_tokens: int
    tokenizer: Any

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, L, D) -> (B, D): the prefix token, else the mean."""
        ...

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor: ...


@runtime_checkable
class FusionModule(Protocol):
    """Attends between text (report tokens or entity queries) and image tokens.

    It may also implement :class:`PoolsPairs`, :class:`ChoosesKnowledge` or :class:`ComputesParts`. ``attention`` may be
    None even if it is requested; heat maps are then omitted.
    """

    width: int

    def __call__(
        self,
        image: Tensor,
        text: Tensor,
        text_mask: Tensor | None = None,
        knowledge: Knowledge | None = None,
        stop_after: int = -1,
        need_attention: bool = False,
    ) -> FusionOutput: ...


# Methods only: since Python 3.12 a runtime check does not find the submodules of a torch.nn.Module.
@runtime_checkable
class GivesAttention(Protocol):
    """A network that scores entities and returns the attention for each of them.

    ``image_encoder``, its submodule, computes the tokens that the attention covers. The attention may be None even if
    it is requested; heat maps are then omitted.
    """

    def fuse(self, image: Tensor, need_attention: bool = False) -> FusionOutput:
        """(B, C, *spatial) -> entity features in ``text`` (B, Q, D), and their ``attention`` if requested."""
        ...

    def score(self, features: Tensor) -> Tensor:
        """(B, Q, D) -> (B, Q) probability of presence."""
        ...

    def attend(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, C, *spatial) -> scores (B, Q), and attention (B, layers, Q, N) or None."""
        ...


@runtime_checkable
class PoolsPairs(Protocol):
    """A fusion module that returns a joint feature of image and text: ``pooled`` (B, pooled_width)."""

    pooled_width: int


@runtime_checkable
class ChoosesKnowledge(Protocol):
    """A fusion module that declares whether it reads ``knowledge``; if not, linked entities are not embedded.

    A module without this declaration receives them.
    """

    reads_knowledge: bool


@runtime_checkable
class ComputesParts(Protocol):
    """A fusion module that skips unused outputs, if ``computes_parts`` is true.

    Its ``forward`` takes ``compute``: ``all``, or the only part of the output that will be used (``text``, ``image`` or
    ``pooled``), in which case the rest is undefined; ``published`` computes everything that the published code does.
    """

    computes_parts: bool


class ModelParts(Protocol):
    """The parts of a model that a loss may inspect; None if the model has no such part.

    :class:`medvlp_toolkit.model.VisionLanguageModel` defines the data flow between them.
    """

    image_encoder: Any
    image_projection: Any
    text_encoder: Any
    text_projection: Any
    knowledge_encoder: Any
    fusion: Any
    entity_projection: Any
    entity_bank: Tensor | None


class Encodings(Protocol):
    """The encodings of a batch in one step: every tower and fused feature, computed on first use.

    Training and evaluation pass a :class:`medvlp_toolkit.model.Encodings` to each loss. With ``share`` False,
    everything is recomputed in full at each request, as in published code.
    """

    model: Any
    batch: Mapping[str, Any]
    share: bool

    def image_tokens(self, view: ImageView = "full") -> Tensor:
        """(B, N, D) projected tokens of the image; ``masked`` (B, prefix + K, D) of its visible patches; ``report``
        (B, 1, D), the report's summary in the image's place."""
        ...

    def text_tokens(self, view: Literal["report", "masked"] = "report") -> Tensor:
        """(B, L, D) projected tokens of the report."""
        ...

    def image_summary(self) -> Tensor:
        """(B, D): the image before fusion."""
        ...

    def text_summary(self) -> Tensor:
        """(B, D): the report before fusion."""
        ...

    def entity_embeddings(self) -> Tensor:
        """(E, Dk) from the knowledge graph, else (Q, D) from the entity bank."""
        ...

    def linked_entity_embeddings(self, prefix: Literal["", "masked_"] = "") -> Tensor:
        """(B, M, Dk) of the entities linked to each report; padding is zero."""
        ...

    def fused(
        self, text: TextView = "report", image: ImageView = "full", stop_after: int = -1, compute: FusedPart = "all"
    ) -> FusionOutput:
        """The fusion module's output for one pairing of text and image views."""
        ...


@runtime_checkable
class PretextLoss(Protocol):
    """A loss that owns its head.

    ``needs`` names the batch keys it reads; ``reads`` names the parts of the model that its gradient
    reaches (attributes of ``VisionLanguageModel``): parts that no loss names are frozen, and a model that lacks one is
    refused before training. A loss of entity queries names ``entity_projection``, even if the model uses its
    ``text_projection`` instead. ``forward`` returns the sum over the terms that the loss averages, and their number;
    without terms the sum is a zero that is still connected to the head. It may also implement :class:`RequiresMore`.
    """

    needs: frozenset[str]
    reads: frozenset[str]
    head: Any

    def __call__(self, encodings: Encodings) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class RequiresMore(Protocol):
    """A pretext loss that requires more of the model's parts than their contracts."""

    def requires(self, model: ModelParts) -> Sequence[str]:
        """The unmet requirements, one clause each with the class of the part and the attribute, such as "leaves out
        patches, and ResNetTokens sees whole images (supports_masking is False)".

        :class:`medvlp_toolkit.model.PretrainingModel` raises them with the loss's name before any data is read.
        """
        ...


@runtime_checkable
class CheckpointImporter(Protocol):
    """Builds a ``PretrainingModel``, or an image encoder with weights, from a published state dict; strict about every
    key.

    Arguments named ``entity_embeddings`` and ``position_embeddings`` are filled by ``medvlp import`` with embedded
    descriptions. It returns a :class:`medvlp_toolkit.model.PretrainingModel`, or an :class:`ImageEncoder` that implements
    :class:`DescribesItself` and takes ``weights``; which may implement :class:`CarriesKeyReport`. The importer may
    implement :class:`StatesTextWidth` or :class:`MakesNetwork`.
    """

    def __call__(self, state_dict: dict[str, Tensor], **options: Any) -> nn.Module: ...


@runtime_checkable
class StatesTextWidth(Protocol):
    """A checkpoint importer that states the width of embedded descriptions; it is tried with zeros of that width before
    a text model is loaded."""

    def text_width(self, state_dict: Mapping[str, Any]) -> int: ...


@runtime_checkable
class MakesNetwork(Protocol):
    """A checkpoint importer that builds the network for inference; without it, the network is a scorer of described
    entities."""

    def network_def(self, model: Any) -> nn.Module: ...


@runtime_checkable
class ExplainsMisfit(Protocol):
    """A module that can explain in one line why a state dict does not fit, for example a graph of other entities."""

    def explain_misfit(self, state_dict: Mapping[str, Any], prefix: str = "") -> str | None:
        """The reason, or None; the module's entries begin with ``prefix``."""
        ...


@runtime_checkable
class DescribesItself(Protocol):
    """A part that can be rebuilt without the inputs of its construction: hub weights, a corpus, a graph.

    An encoder with a ``pretrained`` argument should implement it: the description that training writes then rebuilds it
    offline, to be filled from a checkpoint.
    """

    def architecture(self) -> dict[str, Any]:
        """Keyword arguments (plain values) that build an identical part with other weights."""
        ...


@dataclass(frozen=True)
class KeyReport:
    """The report that a checkpoint importer stores as ``key_report`` on its model.

    ``used`` maps a published key to its parameter; ``unused`` maps a key, or an entry of the file, to the reason why it
    is not needed; ``made`` maps a parameter that the checkpoint lacks to its origin; ``notes`` are remarks for the
    user.
    """

    used: Mapping[str, str]
    unused: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@runtime_checkable
class CarriesKeyReport(Protocol):
    """An imported model that reports what happened to every key."""

    key_report: KeyReport


@runtime_checkable
class StatesSettings(Protocol):
    """A checkpoint importer that knows the settings with which ``train.yaml`` of the bundle of its name composes the
    model of a checkpoint, so that ``medvlp import`` can write the model's description."""

    def settings(self, state_dict: Mapping[str, Any], **options: Any) -> "dict[str, Any]":
        """id -> value, such as ``{"image_encoder::depth": 18}``; ids of further weights to load are set to None.

        An importer with a ``tokenizer`` is given it here too."""
        ...
