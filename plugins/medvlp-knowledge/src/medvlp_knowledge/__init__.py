"""Knowledge sources: concepts, their descriptions and the relations between them.

``definitions`` reads a file of descriptions (two for chest radiographs are shipped), ``obo`` an OBO ontology such as
the Human Phenotype Ontology, ``umls`` a licensed copy of the UMLS Metathesaurus, ``triples`` a table of relations,
``chest_lexicon`` everything that is shipped; ``joined`` combines several sources.
Each has ``concepts`` and ``triples``, see :mod:`medvlp_toolkit.interfaces`.
"""
