from .encodings import Encodings as Encodings
from .entity_bank import EntityBank as EntityBank
from .entity_scorer import EntityScorer as EntityScorer
from .entity_scorer import from_pretraining_model as from_pretraining_model
from .pretraining import PretrainingModel as PretrainingModel
from .vision_language import VisionLanguageModel as VisionLanguageModel
