"""A trained bundle as a file that other programs run: ONNX, TorchScript, safetensors, with a model card."""

import lazy_loader

#: The public names are listed in ``__init__.pyi``; each is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
