"""Zero-shot evaluation by entity descriptions: classification, grounding, laterality, probes, cases."""

from medvlp_toolkit.moved import old_names

__getattr__ = old_names(__name__)
