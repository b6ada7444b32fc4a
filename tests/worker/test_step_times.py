"""How many requests share a forward pass, on curves whose right answer is known."""

import statistics
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from worker.engine.step_times import StepTimes

PAIR = 2
Curve = Callable[[int], float]


def flat(items: int) -> float:
    """A device that is far from saturated: any batch costs the same."""
    return 0.1


def steep(items: int) -> float:
    """A saturated device: twice the items take twice the time."""
    return 0.05 * items


def half_fixed(items: int) -> float:
    """Half of the time of a pair is overhead, the other half grows with the items."""
    return 0.05 * (1.0 + items / PAIR)


def knee_at_eight(items: int) -> float:
    """Free up to eight items, saturated beyond."""
    return 0.01 * max(8.0, items)


def measured(*milliseconds_a_request: float) -> Curve:
    """A curve through points that were measured for 1, 2, 4, 8, ... guided requests, beyond them saturated."""
    sizes = [PAIR << doubling for doubling in range(len(milliseconds_a_request))]
    seconds = [size / PAIR * ms / 1000 for size, ms in zip(sizes, milliseconds_a_request, strict=True)]
    return lambda items: float(np.interp(items, sizes, seconds)) * max(1.0, items / sizes[-1])


# of the demo model at 128x128 on a processor with bfloat16: the second gains nothing, the fourth much
bfloat16 = measured(21.7, 21.3, 8.8, 6.1, 5.7)
two_plateaus = measured(20, 20, 20, 8, 8, 3)
cold_kernels = measured(10, 14, 12, 4, 3)


def learn(times: StepTimes, curve: Curve, requests: int, passes: int) -> list[int]:
    """The batch items of each pass while so many equal requests always wait."""
    sizes = []
    for _ in range(passes):
        items = PAIR * times.share([PAIR] * requests)
        sizes.append(items)
        times.note(items, curve(items))
    return sizes


def learned(curve: Curve, requests: int, passes: int = 200) -> tuple[StepTimes, list[int]]:
    """What is learned from a queue of so many equal requests that never ends; and the items of each pass."""
    times = StepTimes()
    return times, learn(times, curve, requests, passes)


@pytest.mark.parametrize(
    ("curve", "best"),
    [
        (flat, 16),
        (steep, 1),
        (half_fixed, 16),
        (knee_at_eight, 4),
        (bfloat16, 16),
        (two_plateaus, 8),
        (cold_kernels, 16),
        (measured(20, 20.2, 19.9, 20.1, 20), 1),
        (measured(20, 15, 12, 10, 9), 16),
    ],
)
def test_the_optimum_is_that_of_the_whole_curve(curve: Curve, best: int) -> None:
    """Given a curve, with plateaus or bumps, when 16 equal requests wait, then the fewest with nearly the best
    throughput share nearly every pass."""
    times, sizes = learned(curve, 16, passes=600)
    assert times.optimum([PAIR] * 16) == best
    assert Counter(sizes[300:]).most_common(1)[0][0] == PAIR * best
    assert Counter(sizes[300:])[PAIR * best] >= 0.75 * 300


def test_beyond_a_plateau_it_is_found_as_soon_as_enough_wait() -> None:
    """Given a gain at 32 only, when 32 wait, then they share."""
    times, _ = learned(two_plateaus, 32)
    assert times.optimum([PAIR] * 32) == 32


def test_more_are_wanted_than_are_optimal_until_every_size_was_tried() -> None:
    """Given nothing gained by two, when it is asked how many should be in hand, then twice as many, up to 64."""
    times = StepTimes()
    assert times.wanted([PAIR] * 64) == 1
    seen = []
    for requests in (1, 2, 4, 8, 16, 32, 64):
        learn(times, lambda items: 0.001 * items, requests, 20)
        seen.append(times.wanted([PAIR] * 64))
    assert seen == [2, 4, 8, 16, 32, 64, 1]


def test_nobody_shares_before_a_request_alone_is_known() -> None:
    """Given no measurement, when many wait, then the first runs alone until its time is sure, then two share."""
    _, sizes = learned(flat, 16, passes=6)
    assert sizes == [2, 2, 2, 2, 4, 4]


def test_the_size_of_a_pass_at_most_doubles_to_learn() -> None:
    """Given any curve, when passes grow, then none is more than twice the largest before it."""
    for curve in (flat, half_fixed, knee_at_eight, steep, bfloat16):
        _, sizes = learned(curve, 16)
        largest = 2
        for items in sizes:
            assert items <= 2 * largest
            largest = max(largest, items)


@pytest.mark.parametrize("requests", range(2, 17))
@pytest.mark.parametrize(
    "curve",
    [flat, steep, half_fixed, knee_at_eight, lambda items: 0.1 * items**0.8, lambda items: 0.1 * (1 + items**1.2)],
)
def test_equal_requests_end_at_most_five_percent_later_than_one_after_the_other(curve: Curve, requests: int) -> None:
    """Given a learned curve, when equal requests share as it says, then their mean latency stays within 5 %."""
    times, _ = learned(curve, 16)
    left, now, ends = requests, 0.0, []
    while left:
        count = times.optimum([PAIR] * left)
        now += curve(PAIR * count)
        ends += [now] * count
        left -= count
    one_by_one = [curve(PAIR) * (number + 1) for number in range(requests)]
    assert statistics.mean(ends) <= 1.05 * statistics.mean(one_by_one)


@pytest.mark.parametrize("alone_s", [0.005, 0.3, 20.0])
def test_where_sharing_gains_nothing_trying_it_costs_little(alone_s: float) -> None:
    """Given a saturated device (a large model on a CPU), when many always wait, then the optimum stays one, no pass
    takes more than a second or two of its time alone, and what trying costs is 6 % of the time and two seconds."""
    times = StepTimes()
    late = busy = 0.0
    for _ in range(5000):
        count = times.share([PAIR] * 16)
        assert count * alone_s <= max(1.0, 2 * alone_s)
        late += (count - 1) * alone_s
        busy += count * alone_s
        times.note(PAIR * count, count * alone_s)
    assert times.optimum([PAIR] * 16) == 1
    assert late <= 2 + alone_s + 0.06 * busy


def test_one_bad_reading_changes_nothing() -> None:
    """Given any single reading that is ten times too long or too short, when a curve is learned, then its optimum is
    the same."""
    for bad in range(20):
        for factor in (10, 0.1):
            times = StepTimes()
            for number in range(60):
                items = PAIR * times.share([PAIR] * 16)
                times.note(items, bfloat16(items) * (factor if number == bad else 1))
            assert times.optimum([PAIR] * 16) == 16, (bad, factor)


def test_noise_changes_nothing() -> None:
    """Given readings of which every third is up to three times too long, then the optimum is that of the curve."""
    for seed in range(20):
        rng, times = np.random.default_rng(seed), StepTimes()
        for _ in range(200):
            items = PAIR * times.share([PAIR] * 16)
            times.note(items, knee_at_eight(items) * (1 + 2 * rng.random() * (rng.random() < 1 / 3)))
        assert times.optimum([PAIR] * 16) in (4, 8), seed


@pytest.mark.parametrize(("before", "after", "best"), [(flat, steep, 1), (steep, flat, 16), (bfloat16, steep, 1)])
def test_a_knee_that_moves_is_followed(before: Curve, after: Curve, best: int) -> None:
    """Given a curve that was learned, when other programs come or go for good, then the new optimum is found."""
    times, _ = learned(before, 16)
    learn(times, after, 16, 2000)
    assert times.optimum([PAIR] * 16) == best


def test_times_taken_while_the_machine_was_busy_are_forgotten() -> None:
    """Given a start at which every pass took five times as long for all but one size, then that does not stand."""
    for disturbed in (2, 4, 8, 16):
        times = StepTimes()
        for number in range(1500):
            items = PAIR * times.share([PAIR] * 8)
            times.note(items, flat(items) * (5 if items == disturbed and number < 40 else 1))
        assert times.optimum([PAIR] * 8) == 8


def test_what_an_earlier_process_learned_is_used_and_checked() -> None:
    """Given times from the disk, when the first requests come, then they share at once; where the times are wrong now,
    they are put right."""
    times = StepTimes({PAIR << doubling: bfloat16(PAIR << doubling) for doubling in range(5)})
    assert times.share([PAIR] * 16) == 16
    assert times.wanted([PAIR] * 16) == 16
    learn(times, steep, 16, 2000)
    assert times.optimum([PAIR] * 16) == 1


def test_a_curve_along_the_line_does_not_flicker() -> None:
    """Given a curve on which sharing just pays, when readings waver by a tenth, then what was optimal stays so, also
    for a few requests less; where it clearly does not pay any more, it is given up."""
    along = measured(45.9, 42.2, 36.6, 26.7, 24.8)
    times = StepTimes({PAIR << doubling: along(PAIR << doubling) for doubling in range(5)})
    assert times.wanted([PAIR] * 64) >= 16
    for _ in range(20):
        times.note(PAIR, 0.9 * along(PAIR))
    assert [times.optimum([PAIR] * requests) for requests in (13, 16)] == [13, 16]
    for _ in range(20):
        times.note(PAIR, 0.7 * along(PAIR))
    assert times.optimum([PAIR] * 16) == 1


def test_requests_of_different_items_are_added_up() -> None:
    """Given requests with and without guidance, when they share, then their items count, not their number."""
    times, _ = learned(knee_at_eight, 16)
    assert times.optimum([2, 1, 1, 2, 1, 1, 2, 2]) == 6


def test_what_did_not_fit_into_memory_is_not_tried_again() -> None:
    """Given a flat curve, when 12 items ran out of memory, then no pass has as many."""
    times, _ = learned(flat, 16)
    times.too_many(12)
    assert max(learn(times, flat, 16, 200)) == 10
    assert times.wanted([PAIR] * 16) == 5


def test_times_between_measured_sizes_are_interpolated_and_scaled_beyond() -> None:
    """Given two measured sizes, when others are asked for, then the estimate is in line with them."""
    times = StepTimes()
    assert times.seconds(2) is None
    for _ in range(4):
        times.note(2, 1.0)
        times.note(4, 3.0)
    assert [times.seconds(items) for items in (1, 2, 3, 4, 8)] == [0.5, 1.0, 2.0, 3.0, 6.0]
    assert times.curve() == {2: 1.0, 4: 3.0}
