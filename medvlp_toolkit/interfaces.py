"""The contracts of the plugin kinds, and the tensors that pass between them.

Symbols in shapes: B batch, C channels, N image tokens, L text tokens, Q entity queries, P positions,
K candidates or masked tokens, M linked entities, E graph entities, D width of the fused space.

The batch
---------
A batch is a dict. A loss names the keys it reads in ``needs``; a loss draws only what is absent.
Every random choice that changes a loss is drawn when the batch is made, from (seed, epoch, study id),
so that it depends neither on the number of ranks nor on the number of workers.

===================================================  ============================  =========================================
key                                                  shape, dtype                  meaning
===================================================  ============================  =========================================
image                                                (B, C, *spatial) uint8/int16  float32 after augmentation
image_scale                                          (B, 2) float32                of volumes: values are image × the first
                                                                                   + the second
study_id, patient_id                                 list of str
augmentation_draws                                   (B, R) float32 in [0, 1)      what the device augmentation makes random
input_ids, attention_mask                            (B, L) int64                  report tokens
entity_presence                                      (B, Q) int8                   1 present, 0 absent, -1 not mentioned,
                                                                                   2 uncertain (the last two carry no loss)
entity_position_candidates                           (B, Q, K) int64               the positive position, then K-1 negatives
linked_entities                                      (B, M) int64                  entity ids, padding -100
linked_entity_alignment                              (B, M, L)                     which tokens an entity covers
masked_input_ids, masked_positions, masked_labels    (B, L), (B, K), (B, K)        labels with -100; K is static
masked_linked_entities, …_alignment                  as above                      entities that touch a mask removed
image_entities, text_entities                        (B, E) multi-hot              alignment targets
patch_noise                                          (B, N) float32                order in which patches are kept
is_pair                                              (B,)                          image and text belong together
negative_image                                       (B or K, C, *spatial)         the image of a pair that does not: one a
                                                                                   row, or only those of the K rows
                                                                                   that are no pairs, in their order
targets                                              (B, L) int8                   a source's own labels, 1, 0 or -1 unknown
mask                                                 (B, 1, H, W) uint8            1 inside the annotated finding
===================================================  ============================  =========================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Protocol, runtime_checkable

from torch import Tensor

from medvlp_toolkit.data.records import Concept, Finding, Report, Study, Triple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medvlp_toolkit.model.encodings import Encodings
    from medvlp_toolkit.model.pretraining import PretrainingModel

#: Keys of the batch table above.
BATCH_KEYS = frozenset(
    {
        "image",
        "image_scale",
        "study_id",
        "patient_id",
        "augmentation_draws",
        "input_ids",
        "attention_mask",
        "entity_presence",
        "entity_position_candidates",
        "linked_entities",
        "linked_entity_alignment",
        "masked_input_ids",
        "masked_positions",
        "masked_labels",
        "masked_linked_entities",
        "masked_linked_entity_alignment",
        "image_entities",
        "text_entities",
        "patch_noise",
        "is_pair",
        "negative_image",
        "targets",
        "mask",
    }
)

#: Values of ``entity_presence``.
PRESENT, ABSENT, NOT_MENTIONED, UNCERTAIN = 1, 0, -1, 2


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
class ReportFilter(Protocol):
    """Turns reports into findings, one list per report, in the order of the reports."""

    entities: "Sequence[str]"
    positions: "Sequence[str]"

    def __call__(self, reports: "Sequence[Report]") -> "list[list[Finding]]": ...


@runtime_checkable
class KnowledgeSource(Protocol):
    """Concepts with names and definitions, and the triples among them (may be none)."""

    @property
    def concepts(self) -> "Sequence[Concept]": ...

    @property
    def triples(self) -> "Sequence[Triple]": ...


@runtime_checkable
class DataSource(Protocol):
    """Studies of one data set. A source that holds its pixels itself also offers ``read_image(study)``."""

    def __iter__(self) -> "Iterator[Study]": ...


@runtime_checkable
class ImageEncoder(Protocol):
    """``forward(image (B, C, *spatial), keep: Optional (B, K)) -> (B, N, num_features)``.

    ``keep`` holds the patch indices a masked pass sees; it is allowed where ``supports_masking``. An encoder whose tokens
    do not look at the middle of their cells may say so with ``token_shift()``: per axis, in cells; heat maps heed it.
    """

    num_features: int
    num_prefix_tokens: int
    supports_masking: bool

    def grid_size(self, image_shape: "Sequence[int]") -> tuple[int, ...]:
        """Tokens per spatial axis for an image of ``image_shape`` (spatial axes only)."""
        ...

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, N, D) -> (B, D): the prefix token, else the mean."""
        ...

    def __call__(self, image: Tensor, keep: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class TextEncoder(Protocol):
    """``forward(input_ids (B, L), attention_mask (B, L)) -> (B, L, num_features)``."""

    num_features: int
    num_prefix_tokens: int
    tokenizer: Any

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, L, D) -> (B, D): the prefix token, else the mean."""
        ...

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor: ...


@runtime_checkable
class FusionModule(Protocol):
    """Lets text (report tokens or entity queries) and image tokens see one another.

    Optional attributes: ``reads_knowledge`` False says that linked entities need not be embedded for it;
    ``computes_parts`` True that ``forward`` takes ``compute``, the only part of its output that will be read (``all``,
    ``text``, ``image`` or ``pooled``; ``published`` computes what the published code does, read or not).
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


@runtime_checkable
class PretextLoss(Protocol):
    """A loss that owns its head.

    ``needs`` names the batch keys it reads; ``reads`` names the parts of the model that its gradient
    reaches (attributes of ``VisionLanguageModel``). ``forward`` returns the sum over the terms that the
    loss averages and how many there were; with no term the sum is a zero still connected to the head.
    """

    needs: frozenset[str]
    reads: frozenset[str]
    head: Any

    def __call__(self, encodings: "Encodings") -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class CheckpointImporter(Protocol):
    """Builds a ``PretrainingModel`` from a published state dict; strict about every key.

    Arguments named ``entity_embeddings`` and ``position_embeddings`` are filled by ``medvlp import`` with embedded
    descriptions. The model may carry a ``key_report`` (:class:`medvlp_toolkit.interfaces.KeyReport`), and the
    importer a function ``text_width(state_dict)``, the width of those embeddings, and a function
    ``network_def(model)``, the tower whose weights inference reads (by default one that scores described entities).
    """

    def __call__(self, state_dict: dict[str, Tensor], **options: Any) -> "PretrainingModel": ...


@dataclass(frozen=True)
class KeyReport:
    """A checkpoint importer leaves one as ``key_report`` on the model it returns.

    ``used`` maps a published key to the parameter it became; ``unused`` maps a key, or an entry of the file, to why
    nothing needs it; ``made`` maps a parameter that the checkpoint lacks to where it came from; ``notes`` are
    sentences that the user has to know.
    """

    used: Mapping[str, str]
    unused: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
