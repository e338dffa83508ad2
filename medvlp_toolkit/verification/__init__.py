"""Checks a bundle without running it: nothing in it is evaluated, imported or put on ``sys.path``.

:func:`medvlp_toolkit.verification.bundle.verify_bundle` is ``medvlp verify``;
:func:`medvlp_toolkit.verification.run_arguments.check_this_run` is called first by a bundle's ``initialize``.
"""
