from .loaded_bundle import LoadedBundle as LoadedBundle
from .writers import (
    FeatureStep as FeatureStep,
)
from .writers import (
    FeatureWriter as FeatureWriter,
)
from .writers import (
    ProbabilityWriter as ProbabilityWriter,
)
