"""The one error of this room."""


class GraphError(ValueError):
    """An id, attribute or entry that does not fit; the text names it, its value and what is accepted."""
