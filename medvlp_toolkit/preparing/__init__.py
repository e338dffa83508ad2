"""Preparing a store: studies are split, read in worker processes, packed and recorded in a journal."""

import lazy_loader

#: The public names are listed in ``__init__.pyi``; each is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
