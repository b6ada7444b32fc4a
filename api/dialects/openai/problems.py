"""What is wrong with the fields of a body, collected, so that all of it is told at once."""

from shared.errors import InvalidRequest


class Problems:
    """The objections to each field, by the name that the client gave it."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, field: str, sentence: str) -> None:
        self._found.setdefault(field, []).append(sentence)

    def raise_if_any(self) -> None:
        """Raise InvalidRequest that names every field there is something to say about."""
        if self._found:
            raise InvalidRequest("The request has fields that cannot be used.", self._found)
