from .description import Description as Description
from .trained import TrainedModel as TrainedModel
from .weights import (
    bundle_weights as bundle_weights,
)
from .weights import (
    export_network as export_network,
)
from .weights import (
    load_weights as load_weights,
)
from .weights import (
    read_weights as read_weights,
)
from .weights import (
    training_seconds as training_seconds,
)
