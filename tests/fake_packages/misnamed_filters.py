"""A third party's package whose plugin names cannot be addressed."""


class Misnamed:
    """Offered as ``register``, a method of the registry, and as ``mis-named``, no identifier."""
