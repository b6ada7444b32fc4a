"""How Flower finds the queues: Celery reads a module of this name by itself. As in `make_celery` of shared/queue.py."""

import os

broker_url = os.environ["REDIS_URL"]
broker_transport_options = {"global_keyprefix": os.environ["KEY_PREFIX"]}
broker_connection_retry_on_startup = True
