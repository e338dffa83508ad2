"""Evaluation: from scores and attention maps to metrics, tables and pictures.

In the order of the work: ``zero_shot`` (entity scores and attention against labels, boxes and sides), ``finetuning``
and ``pairs`` (classifiers, segmenters, answers, retrieval), ``statistics`` (figures and their intervals), ``maps``
(where the model looked), ``results`` (the folder an evaluation leaves behind) and ``report`` (the page people look at).
``handler`` is what the evaluators' handlers share.

Metrics are computed on the whole set from one table of scores, never averaged over batches.
"""

import lazy_loader

#: The public names are listed in ``__init__.pyi``; each is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
