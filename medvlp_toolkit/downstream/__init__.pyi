from .classification import ImageClassifier as ImageClassifier
from .losses import ExclusiveLabelLoss as ExclusiveLabelLoss
from .losses import KnownLabelLoss as KnownLabelLoss
from .optimisation import finetuning_groups as finetuning_groups
from .optimisation import finetuning_optimizer as finetuning_optimizer
from .pair_classifier import (
    AnswerLoss as AnswerLoss,
)
from .pair_classifier import (
    PairClassifier as PairClassifier,
)
from .pair_classifier import (
    checkpoint_vocabulary as checkpoint_vocabulary,
)
from .pair_classifier import (
    load_answerer as load_answerer,
)
from .pair_encoder import PairEncoder as PairEncoder
from .pair_scorer import (
    ChoiceLoss as ChoiceLoss,
)
from .pair_scorer import (
    PairScorer as PairScorer,
)
from .pair_scorer import (
    TextChoice as TextChoice,
)
from .pair_scorer import (
    retriever as retriever,
)
from .pretrained import (
    load_pretrained as load_pretrained,
)
from .pretrained import (
    pretrained_encoder as pretrained_encoder,
)
from .pretrained_bundle import PretrainedBundle as PretrainedBundle
from .segmentation import UShapedSegmenter as UShapedSegmenter
from .tokenizer_state import checkpoint_tokenizer as checkpoint_tokenizer
from .tokenizer_state import tokenizer_size as tokenizer_size
