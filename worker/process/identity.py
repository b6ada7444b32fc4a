"""What a worker process is called. Kept apart from the worker itself, which takes seconds to import."""

import os
import platform

from shared.settings import Settings


def worker_name(settings: Settings) -> str:
    """The name of this process, by which the register knows it."""
    return f"{name_prefix(settings)}{os.getpid()}"


def name_prefix(settings: Settings) -> str:
    """How the names of all workers of this variant on this host (or in this container) begin."""
    return f"{settings.worker_variant}-{platform.node()}-"
