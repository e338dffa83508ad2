"""The command line ``medvlp``: one file per command, registered in ``main``.

Importing a command's file loads neither torch, monai nor transformers; what a command needs of them it imports inside
its function, or uses a separate process (``isolated``).
"""
