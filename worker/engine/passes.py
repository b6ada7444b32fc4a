"""A step of a batch: what is queued on the device at once, and what is told when the device has done it."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from worker.engine.active import ActiveRequests
from worker.engine.batch import Evaluator, Inputs
from worker.engine.guidance import guided
from worker.engine.running import RunningRequest
from worker.hardware.devices import Device, is_out_of_memory
from worker.samplers import CLEAN


class Pass:
    """A step under way, with the oldest of the running requests in it or not.

    Nothing of it waits for the device before `wait`. `group` is what its requests had in common at its start, and
    `items` how many batch items they were; `out_of_memory`: not all of them fitted into one forward pass.
    """

    def __init__(
        self,
        batch: Sequence[RunningRequest],
        with_oldest: bool,
        active: ActiveRequests,
        evaluator: Evaluator,
        device: Device,
    ) -> None:
        self.batch = batch
        self.with_oldest = with_oldest
        self.group = batch[0].group
        self.items = sum(running.batch_items for running in batch)
        self._begun = device.mark()
        self._active = active
        self._device = device
        self._errors: dict[RunningRequest, Exception] = {}
        self._checks: list[tuple[Sequence[RunningRequest], torch.Tensor]] = []
        self._colours: dict[RunningRequest, torch.Tensor] = {}
        self.out_of_memory = self._queue(evaluator)
        self._done = device.mark()

    @property
    def failed(self) -> bool:
        """Whether a request of it has ended already."""
        return bool(self._errors)

    def wait(self) -> float:
        """Until the device has done it; the seconds that it was at it, whatever the host did meanwhile."""
        self._done.wait()
        return self._done.since(self._begun)

    def settle(self) -> None:
        """After `wait`: tell each request's listeners. A failure ends its own request only."""
        active = self._active
        finite = {
            running: bool(value)
            for requests, checks in self._checks
            for running, value in zip(requests, checks.isfinite().tolist(), strict=True)
        }
        for running in self.batch:
            if running not in active:
                continue  # it ended while the device was at it
            if failed := self._errors.get(running):
                active.fail(running, failed)
                continue
            try:
                running.note_step(finite[running], self._colours.get(running))
                if running.denoised:
                    active.note_denoised(running)
            except Exception as error:
                active.fail(running, error)

    def _queue(self, evaluator: Evaluator) -> bool:
        try:
            inputs = self._inputs()
        except Exception as error:
            self._end(self.batch, error)
            return is_out_of_memory(error)
        outcomes = evaluator.evaluate(self.batch, inputs)
        for part in outcomes.parts:
            requests = self.batch[part.requests]
            if isinstance(part.predictions, Exception):
                self._end(requests, part.predictions)
                continue
            try:
                self._advance(requests, inputs[part.requests], part.predictions)
            except Exception as error:
                self._end(requests, error)
        return outcomes.out_of_memory

    def _end(self, requests: Sequence[RunningRequest], error: Exception) -> None:
        """These requests end with this error once the pass is settled."""
        # the frames of what failed hold the tensors that must make room
        kept = error.with_traceback(None) if is_out_of_memory(error) else error
        self._errors |= dict.fromkeys(requests, kept)

    def _inputs(self) -> Inputs:
        latents, slots = self._active.latents_of(self.batch)
        points = latents.read(slots)
        scales = [running.evaluation.scale for running in self.batch]
        if any(scale != 1.0 for scale in scales):
            points = points * self._device.tensor(scales).view(-1, 1, 1, 1)
        return Inputs(points, [running.evaluation.timestep for running in self.batch])

    def _advance(self, requests: Sequence[RunningRequest], inputs: Inputs, outputs: torch.Tensor) -> None:
        """Take these requests past their evaluation, whose batch items have these outputs."""
        predictions = guided(outputs, [running.guidance for running in requests], self._device)
        # a sum is no number where one of its terms is none, and reads each once
        self._checks.append((requests, self._device.fetch(predictions.flatten(1).sum(1))))
        latents, slots = self._active.latents_of(requests)
        evaluations = [running.evaluation for running in requests]
        found: dict[int, torch.Tensor] = {}
        noise: dict[int, torch.Tensor] = {}
        for place, running in enumerate(requests):
            try:
                if evaluations[place].draws:
                    noise[place] = running.trajectory.noise()
                following = running.trajectory.advance(predictions[place : place + 1])
                running.queued += 1
                if following is not None:
                    found[place] = following
                self._preview(running, inputs[place : place + 1], predictions[place : place + 1])
            except Exception as error:
                self._end([running], error)
                evaluations[place] = replace(evaluations[place], pattern=(), weights=())
        latents.advance(slots, evaluations, predictions, noise)
        for place, following in found.items():
            latents.write([slots[place]], following)
        self._put_back(requests)

    def _put_back(self, requests: Sequence[RunningRequest]) -> None:
        """What stays of input images, at the noise level of the evaluation to come, or as it is after the last one."""
        some = [running for running in requests if running.kept and running not in self._errors]
        if some:
            latents, slots = self._active.latents_of(some)
            following = [running.trajectory.next for running in some]
            levels = [evaluation.level if evaluation else CLEAN for evaluation in following]
            latents.put_back(slots, [running.kept for running in some if running.kept], levels)

    def _preview(self, running: RunningRequest, inputs: Inputs, prediction: torch.Tensor) -> None:
        if running.preview_due():
            colours = running.previews.colours(inputs.latents, inputs.timesteps[0], prediction)
            if colours is not None:
                self._colours[running] = self._device.fetch(colours)
