"""The Python client, the command line, and the launcher behind `make run`. Imports shared only."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.api import Client as Client
    from client.api import Job as Job
    from client.async_api import AsyncClient as AsyncClient
    from client.async_api import AsyncJob as AsyncJob

_HOMES = {
    "Client": "client.api",
    "Job": "client.api",
    "AsyncClient": "client.async_api",
    "AsyncJob": "client.async_api",
}


def __getattr__(name: str) -> Any:
    """Import what the client needs only where it is used: the command line starts without it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'client' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
