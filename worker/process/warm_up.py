"""What a worker does before it takes its first job: load the default model, and learn its optimal batch size."""

import logging
import time

from shared.catalogue.models import Model
from shared.catalogue.samplers import DEFAULT_SAMPLER
from shared.errors import ServiceError
from shared.jobs.signals import WorkerStopping
from shared.request.sampling import SamplingParams
from shared.settings import Settings
from worker.engine import DenoiseRequest, Engine

log = logging.getLogger(__name__)

_SMALL = 64


def warm_up(engine: Engine, model: Model, settings: Settings) -> None:
    """Make one small image, then measure batches of the usual size for up to `settings.warm_up_s`.

    Without the model's weights, or with a model that cannot be used, it says so and goes on.
    """
    if model.place(settings.models_dir) is None:
        log.warning("the default model %s has no weights here yet; other models are served", model.name)
        return
    started = time.monotonic()
    try:
        if settings.torch_compile:
            # what is made for the first size is for that one alone, so the usual one comes first
            _make_image(engine, model, model.native_size)
        _make_image(engine, model, _SMALL)
        log.info("the model %s is warm after %.1f s", model.name, time.monotonic() - started)
        # once more, without what only the first one pays for
        pass_s = _make_image(engine, model, _SMALL) * (model.native_size / _SMALL) ** 2
        name, optimum = engine.measure(_request(model, model.native_size), settings.warm_up_s, pass_s)
    except (ServiceError, WorkerStopping) as error:
        log.warning("the default model %s cannot be used: %s", model.name, error)
        return
    log.info("optimal batch size of %s: %d", name, optimum)
    if optimum > settings.worker_slots:
        log.info("WORKER_SLOTS=%d bounds the batches of jobs with one image each", settings.worker_slots)


def _make_image(engine: Engine, model: Model, side: int) -> float:
    """The seconds for one image in one step."""
    started = time.monotonic()
    engine.submit(_request(model, side), lambda *_: None).result()
    return time.monotonic() - started


def _request(model: Model, side: int) -> DenoiseRequest:
    params = SamplingParams(
        model=model.name, sampler=DEFAULT_SAMPLER, steps=1, guidance_scale=7.5, width=side, height=side
    )
    return DenoiseRequest(params, prompt="", noise_seed=0, step_seed=0)
