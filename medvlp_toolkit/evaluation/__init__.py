"""Evaluation: from scores and attention maps to metrics, tables and pictures.

In the order of the work: ``entity_scorer`` (image to a score per entity), ``label_maps`` and ``zero_shot``
(entity scores against labels), ``operating_points``, ``calibration``, ``heat_maps``, ``boxes``, ``grounding`` and
``laterality`` (attention against ground truth), ``probes`` (questions whose right answer is known), ``intervals`` and
``delong`` (what chance leaves open), ``subgroups`` and ``comparison``, ``results``, ``cases`` and ``run_record`` (the
folder an evaluation leaves behind), ``overlays``, ``summary`` and ``report`` (what people look at). ``metrics`` serves
validation during training.

Metrics are computed on the whole set from one table of scores, never averaged over batches. Only
``entity_scorer`` and ``metrics`` import torch.
"""
