"""What a worker does before it takes its first job: load the default model, and learn its optimal batch size.

Where each batch size is compiled by itself, that of one request is; the others follow while nobody needs the device.
"""

import logging
import time

from shared.catalogue.models import Model
from shared.catalogue.samplers import DEFAULT_SAMPLER
from shared.errors import ServiceError
from shared.jobs.signals import WorkerStopping
from shared.request.sampling import SamplingParams
from shared.settings import Settings
from worker.engine import DenoiseRequest, Engine
from worker.engine.guidance import NO_GUIDANCE
from worker.engine.measurement import BATCH_SIZES

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
        sizes = BATCH_SIZES[:1] if engine.compiles_each_size else BATCH_SIZES
        name, optimum = engine.measure(_request(model, model.native_size), settings.warm_up_s, pass_s, sizes)
    except (ServiceError, WorkerStopping) as error:
        log.warning("the default model %s cannot be used: %s", model.name, error)
        return
    log.info("optimal batch size of %s: %d", name, optimum)
    if optimum > settings.worker_slots:
        log.info("WORKER_SLOTS=%d bounds the batches of jobs with one image each", settings.worker_slots)


def compile_ahead(engine: Engine, model: Model, settings: Settings) -> None:
    """After `warm_up`: compile the default model for larger batches of its usual size, whenever nothing runs.

    The calling thread waits meanwhile. Those that requests need first are compiled with them.
    """
    if not engine.compiles_each_size or model.place(settings.models_dir) is None:
        return
    started = time.monotonic()
    guided, alone = _request(model, model.native_size), _request(model, model.native_size, NO_GUIDANCE)
    try:
        for request, copies in [*((guided, copies) for copies in BATCH_SIZES[1:-1]), (alone, 1)]:
            engine.measure(request, settings.warm_up_s, 0.0, (copies,))
    except (ServiceError, WorkerStopping) as error:
        log.warning("not all batch sizes of %s are compiled yet: %s", model.name, error)
        return
    log.info("the batch sizes of %s are compiled after %.1f s", model.name, time.monotonic() - started)


def _make_image(engine: Engine, model: Model, side: int) -> float:
    """The seconds for one image in one step."""
    started = time.monotonic()
    engine.submit(_request(model, side), lambda *_: None).result()
    return time.monotonic() - started


def _request(model: Model, side: int, scale: float = 7.5) -> DenoiseRequest:
    params = SamplingParams(
        model=model.name, sampler=DEFAULT_SAMPLER, steps=1, guidance_scale=scale, width=side, height=side
    )
    return DenoiseRequest(params, prompt="", noise_seed=0, step_seed=0)
