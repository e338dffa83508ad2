from .finetuning.finetuning import (
    ClassificationEvaluation as ClassificationEvaluation,
)
from .finetuning.finetuning import (
    PredictionStep as PredictionStep,
)
from .finetuning.finetuning import (
    SegmentationEvaluation as SegmentationEvaluation,
)
from .finetuning.linear_probe import (
    ProbeScores as ProbeScores,
)
from .finetuning.linear_probe import (
    image_features as image_features,
)
from .finetuning.segmentation import segmentation_metrics as segmentation_metrics
from .handler import Evaluation as Evaluation
from .handler import FinetuningEvaluation as FinetuningEvaluation
from .maps.heat_mapper import HeatMapper as HeatMapper
from .maps.heat_maps import attention_maps as attention_maps
from .maps.heat_maps import upsample as upsample
from .maps.overlays import Overlay as Overlay
from .pairs.answer_files import AnswerWriter as AnswerWriter
from .pairs.answer_metrics import answer_metrics as answer_metrics
from .pairs.answering import AnswerEvaluation as AnswerEvaluation
from .pairs.answering import AnswerStep as AnswerStep
from .pairs.ranking import RankingStep as RankingStep
from .pairs.ranking import RankingWriter as RankingWriter
from .pairs.retrieval import RetrievalEvaluation as RetrievalEvaluation
from .pairs.retrieval_metrics import ranks as ranks
from .pairs.retrieval_metrics import retrieval_metrics as retrieval_metrics
from .results.names import names_by_id as names_by_id
from .results.names import names_of as names_of
from .results.names import not_findings as not_findings
from .results.results import Results as Results
from .statistics.calibration import calibration_metrics as calibration_metrics
from .statistics.counting import FEW as FEW
from .statistics.operating_points import operating_point as operating_point
from .step import EvaluationStep as EvaluationStep
from .zero_shot.attention_images import AttentionImages as AttentionImages
from .zero_shot.cases import Cases as Cases
from .zero_shot.cases import case_table as case_table
from .zero_shot.classification import Classification as Classification
from .zero_shot.classification import classification_metrics as classification_metrics
from .zero_shot.classification import score_table as score_table
from .zero_shot.evaluated_labels import EvaluatedLabels as EvaluatedLabels
from .zero_shot.evaluation import ZeroShotEvaluation as ZeroShotEvaluation
from .zero_shot.grounding import Grounding as Grounding
from .zero_shot.grounding import grounding_metrics as grounding_metrics
from .zero_shot.laterality import Laterality as Laterality
from .zero_shot.laterality import laterality_metrics as laterality_metrics
from .zero_shot.measure import Measure as Measure
from .zero_shot.metrics import EntityAUC as EntityAUC
from .zero_shot.probing import Probes as Probes
from .zero_shot.probing import Probing as Probing
from .zero_shot.probing import ProbingStep as ProbingStep
from .zero_shot.steps import ScoringStep as ScoringStep
from .zero_shot.studies import EvaluatedStudies as EvaluatedStudies
