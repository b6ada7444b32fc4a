"""gunicorn's settings, read from ours: `gunicorn --config python:api.serving.gunicorn_conf api.wsgi:app`."""

import subprocess
import sys
from typing import Any

import gunicorn.http.wsgi

from shared.open_access import require_own_keys
from shared.settings import SettingsError, read_settings

# the header stays, for it is written in any case, and tells nothing
gunicorn.http.wsgi.SERVER = ""

_settings = read_settings()

# without brackets the colons of an IPv6 address are taken for the port's
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
workers = _settings.api_processes
# a slow or waiting client costs a greenlet, not one of a few threads
worker_class = "api.serving.worker.Worker"
worker_connections = _settings.api_connections
timeout = 60
keepalive = 30  # seconds; pollers of /status reuse their connection
graceful_timeout = 10  # for requests; see api.serving.worker for what else a connection may be at
accesslog = None
control_socket_disable = True  # one socket for all servers of a user, and nobody here uses it
errorlog = "-"
loglevel = _settings.log_level.lower()
# to the root logger, and so in the same format as everything else
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": _settings.log_level, "handlers": []},
    "loggers": {
        "gunicorn.error": {"propagate": True, "handlers": []},
        # one line for every poll of /status would bury the rest
        "gunicorn.access": {"level": "CRITICAL", "propagate": False, "handlers": []},
    },
}


def on_starting(server: Any) -> None:
    """Before anything is served: a key that everybody knows, or a Redis that can never carry a job, is the end.

    Redis is looked at by a program of its own: the client would bring `ssl` into this process, from which all others
    are forked, before gevent has put its own in the place of the system's sockets.
    """
    try:
        require_own_keys(_settings)
    except SettingsError as wrong:
        sys.exit(f"api: {wrong}")
    looked = subprocess.run([sys.executable, "-m", "api.serving.redis_check"], stderr=subprocess.PIPE, text=True)
    if looked.returncode:
        sys.exit(f"api: {looked.stderr.strip()}")
