"""The measurements of ``medvlp bench``: each function runs in a separate process and returns plain values.

``measurement`` times, ``machine`` describes the environment; ``generated_*`` make the input data;
``store_reading``, ``jpeg_reading``, ``report_reading`` and ``training_step`` (with ``step_process``) are the work. None
of it belongs in a test, because time is not a property of code alone.
"""
