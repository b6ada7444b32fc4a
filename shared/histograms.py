"""What workers measure: the histograms that their cards carry to `GET /metrics`."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Histogram:
    """What is counted, in which buckets: `bounds` are the largest values of each, in ascending order; one more has the
    rest. `labels` tell series apart; the API adds the worker's name to them."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]

    @property
    def buckets(self) -> tuple[str, ...]:
        """The names of the buckets, as Prometheus' label `le` has them."""
        return (*(f"{bound:g}" for bound in self.bounds), "+Inf")


@dataclass(frozen=True)
class Series:
    """What one worker has counted since its start: how many values are in each bucket, and their sum."""

    labels: Mapping[str, str]
    counts: Mapping[str, int]
    sum: float


QUEUE_WAIT = Histogram(
    "queue_wait_seconds",
    "Seconds from a job's acceptance until a worker claimed the first of its tasks.",
    ("model",),
    (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
STAGE = Histogram(
    "stage_seconds",
    "Seconds of each stage of an image: text_encoding, denoising (with what others' forward passes took in between), "
    "decoding, storing (enlarging, encoding the file and writing it).",
    ("model", "stage"),
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
FORWARD_PASS = Histogram(
    "forward_pass_seconds",
    "Seconds of a forward pass of the denoiser, which is a step of all requests that share it.",
    ("model",),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BATCH_ITEMS = Histogram(
    "forward_pass_batch_items",
    "Batch items of a forward pass of the denoiser; a guided image has two.",
    (),
    (1, 2, 4, 8, 16, 32, 64, 128),
)
HISTOGRAMS = (QUEUE_WAIT, STAGE, FORWARD_PASS, BATCH_ITEMS)
