"""`python -m api.serving.redis_check`: looks once at the Redis of the settings, and ends with the reason where it can
never carry a job."""

import sys

from shared.queue import connect
from shared.redis.server import UnsuitableRedis, check_server
from shared.settings import read_settings

if __name__ == "__main__":
    try:
        with connect(read_settings()) as client:
            check_server(client)
    except UnsuitableRedis as wrong:
        sys.exit(str(wrong))
