"""What a worker counts of its own work."""

from collections.abc import Callable

import pytest

from shared.catalogue.models import Catalogue
from shared.histograms import BATCH_ITEMS, FORWARD_PASS, HISTOGRAMS, QUEUE_WAIT, STAGE, Histogram
from shared.settings import Settings
from worker.engine import DenoiseRequest, Engine
from worker.observations import Observations

SIZES = Histogram("sizes", "Sizes.", ("colour",), (1, 2.5, 10))


def test_a_value_is_in_the_smallest_bucket_that_holds_it() -> None:
    """Given values below, at and above the bounds, when it is reported, then each is counted once, by its label."""
    observations = Observations()
    for value in (0.1, 1, 1.1, 2.5, 10, 11):
        observations.observe(SIZES, value, colour="red")
    observations.observe(SIZES, 3, colour="blue")

    red, blue = observations.report()["sizes"]

    assert (red.labels, blue.labels) == ({"colour": "red"}, {"colour": "blue"})
    assert (red.counts, red.sum) == ({"1": 2, "2.5": 2, "10": 1, "+Inf": 1}, 25.7)
    assert (blue.counts, blue.sum) == ({"1": 0, "2.5": 0, "10": 1, "+Inf": 0}, 3)


def test_a_value_without_its_label_is_refused() -> None:
    """Given a histogram with a label, when a value comes without it, then that is an error and nothing is counted."""
    observations = Observations()
    with pytest.raises(KeyError, match="colour"):
        observations.observe(SIZES, 1)
    assert observations.report() == {}


def test_what_fails_is_not_timed() -> None:
    """Given two blocks of which one raises, when it is reported, then the other alone is counted."""
    observations = Observations()
    with observations.timed(SIZES, colour="red"):
        pass
    with pytest.raises(ZeroDivisionError), observations.timed(SIZES, colour="red"):
        raise ZeroDivisionError
    (series,) = observations.report()["sizes"]
    assert sum(series.counts.values()) == 1


@pytest.mark.parametrize("histogram", HISTOGRAMS, ids=lambda histogram: histogram.name)
def test_bounds_rise_and_have_names_of_their_own(histogram: Histogram) -> None:
    """Given a histogram, then its bounds rise, and no two buckets have one name."""
    assert list(histogram.bounds) == sorted(set(histogram.bounds))
    assert len(set(histogram.buckets)) == len(histogram.bounds) + 1


def test_the_engine_counts_its_passes_and_stages(
    settings: Settings, catalogue: Catalogue, request_for: Callable[..., DenoiseRequest]
) -> None:
    """Given a guided image of three steps and an unguided one, when they are done, then there are three passes of two
    batch items and three of one, and each image has its stages once."""
    observations = Observations()
    engine = Engine(settings, catalogue, observations=observations)
    engine.start()
    try:
        for scale in (7.5, 1.0):
            engine.submit(request_for(steps=3, guidance_scale=scale), lambda *_: None).result(60)
    finally:
        engine.stop()

    told = observations.report()

    (passes,), (items,) = told[FORWARD_PASS.name], told[BATCH_ITEMS.name]
    assert (passes.labels, sum(passes.counts.values())) == ({"model": "tiny-sd1"}, 6)
    assert passes.sum > 0
    assert (items.counts["1"], items.counts["2"], items.sum) == (3, 3, 9)
    stages = {series.labels["stage"]: sum(series.counts.values()) for series in told[STAGE.name]}
    assert stages == {"text_encoding": 2, "denoising": 2, "decoding": 2}
    assert QUEUE_WAIT.name not in told
