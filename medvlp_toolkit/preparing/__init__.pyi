from .executors import available_cores as available_cores
from .prepare import Prepare as Prepare
from .resplit import Resplit as Resplit
from .splits import SplitByPatient as SplitByPatient
