"""The command line ``medvlp``: one file per command, registered in ``main``.

Importing a command's file loads neither torch, monai nor transformers; a command that needs them imports them inside
its function, or uses a separate process (``isolated``).
"""
