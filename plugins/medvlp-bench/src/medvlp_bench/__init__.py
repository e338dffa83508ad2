"""The measurements of ``medvlp bench``: each function runs in a separate process and returns plain values.

``measurement`` times, ``machine`` says on what; ``generated_*`` make the data to measure on; ``store_reading``,
``jpeg_reading``, ``report_reading`` and ``training_step`` (with ``step_process``) are the work. None of it belongs into
a test: time is not a property of code alone.
"""
