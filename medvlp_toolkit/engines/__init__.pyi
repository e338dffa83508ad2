from .checkpointing import BestCheckpoint as BestCheckpoint
from .checkpointing import Checkpointing as Checkpointing
from .device import (
    Precision as Precision,
)
from .device import (
    autocast as autocast,
)
from .device import (
    best_device as best_device,
)
from .device import (
    exact_float32 as exact_float32,
)
from .device import (
    set_tf32 as set_tf32,
)
from .device import (
    to_device as to_device,
)
from .engine import Evaluator as Evaluator
from .engine import Trainer as Trainer
from .finetuning_step import FinetuningStep as FinetuningStep
from .guards import NonFiniteGuard as NonFiniteGuard
from .guards import StoreGuard as StoreGuard
from .handlers import (
    BroadcastBuffers as BroadcastBuffers,
)
from .handlers import (
    LogMetrics as LogMetrics,
)
from .handlers import (
    ProgressBar as ProgressBar,
)
from .handlers import (
    Throughput as Throughput,
)
from .handlers import (
    TrainingNote as TrainingNote,
)
from .handlers import (
    write_training_scalars as write_training_scalars,
)
from .parallel import (
    checkpoint_activations as checkpoint_activations,
)
from .parallel import on_device as on_device
from .parallel import (
    place_network as place_network,
)
from .parallel import (
    replicate as replicate,
)
from .parallel import (
    shard as shard,
)
from .parallel import (
    unwrap as unwrap,
)
from .random_states import RandomStates as RandomStates
from .ranks import seed_rank as seed_rank
from .ranks import start_ranks as start_ranks
from .run_configuration import RunConfiguration as RunConfiguration
from .run_lock import lock_run as lock_run
from .schedules import WarmupCosine as WarmupCosine
from .schedules import WarmupLinear as WarmupLinear
from .step import OptimisationStep as OptimisationStep
from .step import PretrainingStep as PretrainingStep
from .training_handlers import TrainingHandlers as TrainingHandlers
