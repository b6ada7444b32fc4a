"""What becomes of an error while an image is made: the device's memory is freed, and the client is told a sentence."""

import logging

from shared.errors import InternalError, OutOfMemory, ServiceError
from shared.jobs.signals import Signal
from worker.hardware.devices import Device, is_out_of_memory

log = logging.getLogger(__name__)


def make_good(error: Exception, device: Device) -> None:
    """Free the memory of what has failed, before it is told. Raises DeviceLost when nothing else would work."""
    if isinstance(error, (ServiceError, Signal)):
        device.empty_cache()
    else:
        device.recover(error)


def translated(error: Exception) -> ServiceError | Signal:
    """Our own errors as they are; any other logged, and told without its details."""
    if isinstance(error, (ServiceError, Signal)):
        return error
    if is_out_of_memory(error):
        log.warning("out of memory: %s", error)
        return OutOfMemory("The image does not fit into this worker's memory: ask for a smaller one.")
    log.error("a request failed", exc_info=error)
    return InternalError("Something unforeseen happened while the image was made; the worker's log has the details.")
