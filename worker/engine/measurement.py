"""Learning a curve before the first request comes."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from worker.engine.batch import Evaluator, Inputs
from worker.engine.curves import Curves
from worker.engine.request import DenoiseRequest
from worker.engine.running import RunningRequest
from worker.engine.step_times import SURE, WARM_UP, StepTimes
from worker.hardware.devices import Device

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
# those that are prepared, which takes half a second each; no worker has more requests in hand, unless it is told to
_PREPARED = (1, 2, 4, 8, 16)


class Measurement:
    """What is to be measured, within so many seconds. `outcome`: of what, and the optimal batch size."""

    def __init__(
        self, request: DenoiseRequest, at_most_s: float, pass_s: float, copies: Sequence[int] = BATCH_SIZES
    ) -> None:
        """`pass_s`: what a pass of the request alone is expected to take, until it is known; `copies`: how many of it
        are to share one."""
        self.request = request
        self._at_most_s = at_most_s
        self._pass_s = pass_s
        self._copies = copies
        self.outcome: Future[tuple[str, int]] = Future()

    def batches(self, times: StepTimes, items: int, items_at_most: int | None, compiles: bool = False) -> Iterator[int]:
        """How many copies of the request, of so many batch items, the next pass is to have; each is noted in `times`.

        Sizes that are known already are left out. Ends when the next pass would take more than the time that is left.
        Where the first pass of a size `compiles`, it is made whatever is known and however long it takes.
        """
        end = time.monotonic() + self._at_most_s
        for copies in self._copies:
            size = copies * items
            if copies > 1 and items_at_most is not None and size > items_at_most:
                return
            sure = times.sure(size)
            if compiles:
                begun = time.monotonic()
                yield copies
                end += time.monotonic() - begun
            if sure:
                continue
            for _ in range(WARM_UP + SURE):
                if time.monotonic() + (times.seconds(size) or self._pass_s) > end:
                    return
                yield copies

    def prepare(self, running: RunningRequest, evaluator: Evaluator) -> None:
        """Make a pass of each batch size, where the passes after it are faster for that.

        Nothing is done where there is no time to measure either.
        """
        preparing, at_most = running.checkpoint.preparing, running.options.max_batch_size
        if preparing is None or self._at_most_s < self._pass_s:
            return
        with preparing():
            for copies in _PREPARED:
                fits = copies == 1 or at_most is None or copies * running.batch_items <= at_most
                if not fits or evaluator.evaluate([running] * copies, _inputs(running, copies)).out_of_memory:
                    return

    def run(self, running: RunningRequest, curves: Curves, threads: int, evaluator: Evaluator, device: Device) -> None:
        """Run the request's forward pass in batches of several sizes, as if there were so many of it, and note them.

        Raises what a pass of the request alone raises.
        """
        group = running.group
        times = curves.of(group, threads)
        compiled = running.checkpoint.compiled
        compiles = compiled is not None and compiled.in_few_sizes
        self.prepare(running, evaluator)
        for copies in self.batches(times, running.batch_items, running.options.max_batch_size, compiles):
            started = time.perf_counter()
            outcomes = evaluator.evaluate([running] * copies, _inputs(running, copies))
            device.mark().wait()
            seconds = time.perf_counter() - started
            size, fewest = evaluator.size(running, copies * running.batch_items)
            if outcomes.out_of_memory:
                times.too_many(fewest)
                return
            for outcome in outcomes.parts:
                if isinstance(outcome.predictions, Exception):
                    raise outcome.predictions
            curves.note(group, threads, size, seconds, source="start")


def _inputs(running: RunningRequest, copies: int) -> Inputs:
    return Inputs(running.latents.expand(copies, -1, -1, -1), [running.evaluation.timestep] * copies)
