"""Reading of CSV, TSV and Excel tables in any encoding; each bad row is rejected with its line number.

:class:`~medvlp_toolkit.tables.table.Table` reads all tables. Rows are parsed by Python's ``csv`` in strict mode, which
stops at the character where quoting breaks; lines that a broken row has consumed are read again. docs/decisions.md
explains why pandas, polars and pyarrow are not used.
"""
