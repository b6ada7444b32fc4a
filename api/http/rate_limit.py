"""How often one key may ask: counted in Redis, so for all API processes together."""

import math
import time

from limits import parse
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from shared.errors import TooManyRequests
from shared.redis.address import RedisAddress
from shared.settings import Settings, SettingsError


class RateLimit:
    """`settings.rate_limit` as words (`30 per minute`), for each owner of a key; empty: no limit."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError when the words cannot be read."""
        self._words = settings.rate_limit
        if not self._words:
            return
        try:
            self._limit = parse(self._words)
        except ValueError:
            raise SettingsError(
                f"RATE_LIMIT: '{self._words}' cannot be read; write it like '30 per minute' or '5/second'"
            ) from None
        address = RedisAddress.parse(settings.redis_url)
        storage = storage_from_string(
            address.for_limits,
            key_prefix=f"{settings.key_prefix}rate",
            **address.timeouts(settings.redis_timeout_s),
        )
        self._window = SlidingWindowCounterRateLimiter(storage)

    def check(self, owner: str) -> None:
        """Count one request. Raises TooManyRequests when it is one too many, and `redis.RedisError`."""
        if not self._words or self._window.hit(self._limit, owner):
            return
        seconds = max(1, math.ceil(self._window.get_window_stats(self._limit, owner).reset_time - time.time()))
        raise TooManyRequests(f"This key may ask {self._words}; try again in {seconds} s.", retry_after_s=seconds)
