"""What ``medvlp bench`` measures: each function runs in a process of its own and returns plain values.

``measurement`` times, ``machine`` says on what; ``generated_*`` make the data to measure on; ``store_reading``,
``jpeg_reading``, ``preparing`` and ``report_reading`` are the work. None of it belongs into a test: time is not a
property of code alone.
"""
