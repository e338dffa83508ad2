"""A third party's package with a name that another one offers too."""


def shouting(text: str) -> str:
    """Say it twice."""
    return f"{text} {text}"
