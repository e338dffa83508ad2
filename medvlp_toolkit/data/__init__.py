"""Studies on their way to a step: records, images, the packed store, what prepares it, and the batches made of it."""

import lazy_loader

#: The public names are listed in ``__init__.pyi``; each is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
