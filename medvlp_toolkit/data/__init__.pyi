from .batches.answers import AnswerVocabulary as AnswerVocabulary
from .batches.augmentation import (
    IMAGENET_MEAN as IMAGENET_MEAN,
)
from .batches.augmentation import (
    IMAGENET_STD as IMAGENET_STD,
)
from .batches.augmentation import (
    EvaluationTransform as EvaluationTransform,
)
from .batches.augmentation import (
    TrainingAugmentation as TrainingAugmentation,
)
from .batches.augmentation import (
    resample as resample,
)
from .batches.dataset import StudyDataset as StudyDataset
from .batches.dataset import study_loader as study_loader
from .batches.dataset import training_loader as training_loader
from .batches.device_images import images_from as images_from
from .batches.encoded_texts import encode_texts as encode_texts
from .batches.label_fraction import choose_labelled as choose_labelled
from .batches.label_fraction import write_ids as write_ids
from .batches.masking import WholeEntityMasking as WholeEntityMasking
from .batches.pairs import PairDataset as PairDataset
from .batches.pairs import captions as captions
from .batches.pairs import questions as questions
from .batches.pretraining import PretrainingDataset as PretrainingDataset
from .batches.pretraining import report_texts as report_texts
from .batches.text_lengths import FixedLengths as FixedLengths
from .batches.text_links import TextLinks as TextLinks
from .batches.volume_augmentation import VolumeAugmentation as VolumeAugmentation
from .batches.volume_augmentation import VolumeTransform as VolumeTransform
from .concept_source import ConceptSource as ConceptSource
from .inputs.image_files import ImageFiles as ImageFiles
from .inputs.image_files import image_loader as image_loader
from .inputs.image_files import open_images as open_images
from .inputs.question_files import QuestionFiles as QuestionFiles
from .inputs.question_files import question_loader as question_loader
from .inputs.retrieval_files import RetrievalFiles as RetrievalFiles
from .knowledge_graph import GraphError as GraphError
from .knowledge_graph import KnowledgeGraph as KnowledgeGraph
from .records import (
    Box as Box,
)
from .records import (
    Concept as Concept,
)
from .records import (
    Finding as Finding,
)
from .records import (
    Presence as Presence,
)
from .records import (
    Question as Question,
)
from .records import (
    Report as Report,
)
from .records import (
    Study as Study,
)
from .records import (
    Triple as Triple,
)
from .sections import report_from_open_i as report_from_open_i
from .sections import select_sections as select_sections
from .store.rejected import Reason as Reason
from .store.rejected import Rejected as Rejected
from .store.store import SCHEMA_VERSION as SCHEMA_VERSION
from .store.store import PackedStore as PackedStore
from .store.store import file_sha256 as file_sha256
