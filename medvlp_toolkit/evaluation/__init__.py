"""Evaluation: from scores and attention maps to metrics, tables and pictures.

In the order of the work: ``entity_scorer`` (image to a score per entity), ``label_maps`` and ``zero_shot``
(entity scores against labels), ``heat_maps``, ``boxes``, ``grounding`` and ``laterality`` (attention against
ground truth), ``intervals`` (what chance leaves open), ``results`` and ``run_record`` (the folder an evaluation
leaves behind), ``overlays`` and ``summary`` (what people look at). ``metrics`` serves validation during training.

Metrics are computed on the whole set from one table of scores, never averaged over batches. Only
``entity_scorer`` and ``metrics`` import torch.
"""
