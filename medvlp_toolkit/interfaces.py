"""The contracts of the plugin kinds, and the tensors that pass between them.

Symbols in shapes: B batch, C channels, N image tokens, L text tokens, Q entity queries, P positions,
K candidates or masked tokens, M linked entities, E graph entities, D width of the fused space.

Contracts hold what every part of the toolkit may rely on. What a plugin may offer beyond its contract is a small protocol
of its own (``ShiftsTokens``, ``PoolsPairs`` …): where it is asked for, ``isinstance`` finds it, and the conformance
suites check it where it is offered. Attributes that are numbers or booleans are plain attributes of the module.

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
    """Linked entities handed to a fusion module.

    ``embeddings`` (B, M, Dk); ``mask`` (B, M) True where there is an entity; ``alignment`` (B, M, L)
    1 where entity m covers token l.
    """

    embeddings: Tensor
    mask: Tensor
    alignment: Tensor


class FusionOutput(NamedTuple):
    """What a fusion module returns.

    ``image`` (B, N, D) and ``text`` (B, L or Q, D) features; ``pooled`` (B, Dp) pair feature or None;
    ``attention`` (B, layers, L or Q, N), each text token's attention over image tokens averaged over
    heads, or None when it was not asked for.
    """

    image: Tensor
    text: Tensor
    pooled: Optional[Tensor]  # noqa: UP045 - TorchScript
    attention: Optional[Tensor]  # noqa: UP045 - TorchScript


@runtime_checkable
class ImageEncoder(Protocol):
    """``forward(image (B, C, *spatial), keep: Optional (B, K)) -> (B, N, num_features)``.

    ``keep`` holds the patch indices a masked pass sees; it is allowed where ``supports_masking``. An encoder may also be
    one that :class:`ShiftsTokens`.
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
    """An image encoder whose tokens are not centred in their grid cells; heat maps are drawn accordingly."""

    def token_shift(self) -> tuple[float, ...]:
        """Per axis, in cells: how far a token's receptive field is centred from the middle of its cell."""
        ...


@runtime_checkable
class GivesFeatureMaps(Protocol):
    """An image encoder whose stages serve as skip connections, as segmentation networks need them.

    ``feature_channels`` and ``feature_strides`` have an entry for each map: its channels, and how much coarser than the
    image it is. ``in_channels`` are those of the image, a single one being repeated to fit, and ``spatial_dims`` its axes.
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

    ``tokenizer`` is a fast tokenizer of transformers, or works as they do. Called on texts it gives ``input_ids`` and
    ``attention_mask``; ``len(tokenizer)`` is how many tokens it knows, and the encoder takes every id below. Losses that
    score the vocabulary are built with that number.
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

    It may also be one that :class:`PoolsPairs`, :class:`ChoosesKnowledge` or :class:`ComputesParts`. ``attention`` may be
    None also where it is asked for: heat maps are then left out.
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


# Methods only: from Python 3.12 on a runtime check does not see the submodules of a torch.nn.Module.
@runtime_checkable
class GivesAttention(Protocol):
    """A network that scores entities and returns the attention for each of them.

    ``image_encoder``, its submodule, made the tokens that attention covers. The fusion module may give no attention
    although it is asked for; heat maps are then left out.
    """

    def fuse(self, image: Tensor, need_attention: bool = False) -> FusionOutput:
        """(B, C, *spatial) -> features of the entities in ``text`` (B, Q, D), and their ``attention`` on request."""
        ...

    def score(self, features: Tensor) -> Tensor:
        """(B, Q, D) -> (B, Q) probability of presence."""
        ...

    def attend(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, C, *spatial) -> scores (B, Q), and attention (B, layers, Q, N) or None."""
        ...


@runtime_checkable
class PoolsPairs(Protocol):
    """A fusion module that returns one feature for an image and a text together: ``pooled`` (B, pooled_width)."""

    pooled_width: int


@runtime_checkable
class ChoosesKnowledge(Protocol):
    """A fusion module that states whether it reads ``knowledge``; if not, linked entities are not embedded.

    A module that does not state it receives them.
    """

    reads_knowledge: bool


@runtime_checkable
class ComputesParts(Protocol):
    """A fusion module that skips unused outputs, if ``computes_parts`` is true.

    Its ``forward`` takes ``compute``: ``all``, or the only part of the output that will be read (``text``, ``image`` or
    ``pooled``), the rest of which may be anything; ``published`` computes what the published code does, read or not.
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
    """One step's view of a batch: every tower and every fused feature, computed on first use.

    :class:`medvlp_toolkit.model.Encodings` is what training and evaluation hand to a loss. ``share`` False asks for
    everything as published code computes it, in full and again at each request.
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
        """(E, Dk) of the knowledge graph, else (Q, D) of the entity bank."""
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
    reaches (attributes of ``VisionLanguageModel``): what no loss names is frozen, and a model that lacks one is refused
    before training. A loss of entity queries names ``entity_projection``, also where the model has none of its own and
    takes ``text_projection``. ``forward`` returns the sum over the terms that the loss averages and how many there were;
    with no term the sum is a zero still connected to the head. It may also be one that :class:`RequiresMore`.
    """

    needs: frozenset[str]
    reads: frozenset[str]
    head: Any

    def __call__(self, encodings: Encodings) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class RequiresMore(Protocol):
    """A pretext loss that requires more of the model's parts than their contracts."""

    def requires(self, model: ModelParts) -> Sequence[str]:
        """What the loss cannot do without and the model lacks: one clause each that names the class of the part and the
        attribute, such as "leaves out patches, and ResNetTokens sees whole images (supports_masking is False)".

        :class:`medvlp_toolkit.model.PretrainingModel` asks before any data is read, and refuses with the loss's name.
        """
        ...


@runtime_checkable
class CheckpointImporter(Protocol):
    """Builds a ``PretrainingModel`` from a published state dict; strict about every key.

    Arguments named ``entity_embeddings`` and ``position_embeddings`` are filled by ``medvlp import`` with embedded
    descriptions. What it gives is a :class:`medvlp_toolkit.model.PretrainingModel`, which may be one that
    :class:`CarriesKeyReport`; the importer may be one that :class:`StatesTextWidth` or :class:`MakesNetwork`.
    """

    def __call__(self, state_dict: dict[str, Tensor], **options: Any) -> nn.Module: ...


@runtime_checkable
class StatesTextWidth(Protocol):
    """A checkpoint importer that knows how wide the embedded descriptions are: it is tried on zeros of that width
    before a text model is loaded."""

    def text_width(self, state_dict: Mapping[str, Any]) -> int: ...


@runtime_checkable
class MakesNetwork(Protocol):
    """A checkpoint importer that makes the network whose weights inference reads; of the others it is one that scores
    described entities."""

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

    An encoder with a ``pretrained`` argument should be one: what training writes beside its weights then rebuilds it
    offline, and a checkpoint fills it.
    """

    def architecture(self) -> dict[str, Any]:
        """Keyword arguments (plain values) that build an identical part with other weights."""
        ...


@dataclass(frozen=True)
class KeyReport:
    """The report that a checkpoint importer leaves as ``key_report`` on its model.

    ``used`` maps a published key to the parameter it became; ``unused`` maps a key, or an entry of the file, to why
    nothing needs it; ``made`` maps a parameter that the checkpoint lacks to where it came from; ``notes`` are
    sentences that the user has to know.
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
    """A checkpoint importer that knows what the ``train.yaml`` of the bundle of its name has to be given to compose the
    model of a checkpoint: ``medvlp import`` then describes the model beside its weights."""

    def settings(self, state_dict: Mapping[str, Any]) -> "dict[str, Any]":
        """id -> value, such as ``{"image_encoder::depth": 18}``; ids of other weights to read are set to None."""
        ...
