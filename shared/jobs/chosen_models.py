"""The model that each key has chosen for the requests that name none, as clients of A1111 choose one.

There it is one setting for everybody; here a key changes nothing for another.
"""

from typing import Any

from shared.jobs.keys import Keys

KEPT_S = 7 * 24 * 3600


class ChosenModels:
    """The choices in Redis; every method may raise `redis.RedisError`."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._redis = client
        self._keys = Keys(prefix)

    def choose(self, owner: str, model: str) -> None:
        """From now on `model`, a name of the catalogue, is the owner's; it is forgotten when long unused."""
        self._redis.set(self._keys.chosen_model(owner), model, ex=KEPT_S)

    def of(self, owner: str) -> str | None:
        """The model that the owner has chosen, for as long again; None for none."""
        name: str | None = self._redis.getex(self._keys.chosen_model(owner), ex=KEPT_S)
        return name
