"""What each variant of the worker does with its device."""

from shared.variants import WORKER_VARIANTS
from worker.hardware.variants import PROFILES


def test_every_variant_of_a_worker_has_a_profile() -> None:
    """Given the table of variants, when profiles are looked up, then each variant that a worker can be has one."""
    assert tuple(PROFILES) == WORKER_VARIANTS
