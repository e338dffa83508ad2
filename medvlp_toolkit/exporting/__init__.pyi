from .export import Exported as Exported
from .export import export_bundle as export_bundle
from .formats import FORMATS as FORMATS
