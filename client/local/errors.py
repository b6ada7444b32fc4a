"""What ends a start or a run of the local service, as one line for the person who started it."""


class LaunchError(Exception):
    """The local service cannot start, or cannot go on; the message says why and what to do."""
