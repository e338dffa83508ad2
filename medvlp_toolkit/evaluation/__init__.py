"""Evaluation: from scores and attention maps to metrics, tables and pictures.

``zero_shot`` (entity scores and attention against labels, boxes and sides), ``finetuning`` and ``pairs`` (classifiers,
segmenters, answers, retrieval), ``statistics`` (metrics and their intervals), ``maps`` (heat maps), ``results`` (the
results folder) and ``report`` (the HTML page). ``handler`` is the base of the evaluators' handlers.

Metrics are computed on the whole set from one table of scores, never averaged over batches.
"""

import lazy_loader

#: The public names are listed in ``__init__.pyi``; each is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
