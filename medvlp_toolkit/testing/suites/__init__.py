"""Conformance suites, one per plugin kind; import them from :mod:`medvlp_toolkit.testing`.

``plugin`` holds what every plugin must do and turns a broken rule into a sentence; ``module`` adds what every neural
module must do; the others add the contract of their kind (:mod:`medvlp_toolkit.interfaces`).
"""
