"""The one way a scenario fails: with what was expected and what came, short enough to read."""


class Failure(Exception):
    """What was expected and what came instead."""

    def __init__(self, what, expected=None, got=None):
        parts = [what]
        if expected is not None or got is not None:
            parts.append(f"expected {short(expected)}, got {short(got)}")
        super().__init__(": ".join(parts))


def short(thing, limit=160):
    """A thing as text that fits a line, with the length of what was left out."""
    text = repr(thing)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
