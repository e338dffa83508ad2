"""Tables as they come: CSV, TSV and Excel in any encoding, each bad row rejected with its line.

:class:`~medvlp_toolkit.tables.table.Table` is the one reader of tables. Rows are parsed by Python's ``csv``
in strict mode, which stops at the character where quoting breaks; what a broken row has swallowed is given back and
read again. docs/decisions.md says why neither pandas, polars nor pyarrow does.
"""
