"""`python -m worker.health`: status 0 while the workers of this container live, else 1 and a line that says why not.

A worker renews its card in the register from inside, as long as its engine runs and Redis answers. So this asks the
worker itself, and not only whether a process is there.
"""

import sys

import redis

from shared.queue import connect
from shared.settings import SettingsError, read_settings
from shared.workers import WorkerRegister
from worker.fleet import ALL, gpus
from worker.identity import name_prefix


def main() -> int:
    """The exit status."""
    try:
        settings = read_settings()
        register = WorkerRegister(connect(settings), settings.key_prefix, settings.worker_ttl_s)
        live = [card.name for card in register.live() if card.name.startswith(name_prefix(settings))]
    except (SettingsError, redis.RedisError) as wrong:
        sys.stderr.write(f"the worker cannot be asked: {wrong}\n")
        return 1
    # to count all GPUs takes torch, and seconds; where one worker ends, its fleet ends the others too
    wanted = 1 if settings.worker_gpus in ("", ALL) else len(gpus(settings))
    if len(live) < wanted:
        sys.stderr.write(f"{len(live)} of {wanted} workers live here\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
