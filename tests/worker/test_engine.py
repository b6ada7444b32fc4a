"""The engine as its callers see it: progress, cancelling, errors, and images that depend on what they should."""

import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shared.catalogue.models import Catalogue
from shared.catalogue.samplers import SAMPLERS
from shared.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    JobCancelled,
    ModelUnavailable,
    OutOfMemory,
)
from shared.jobs.signals import LeaseLost, WorkerFailed, WorkerStopping
from shared.request.prompts import parse_prompt
from shared.settings import Settings
from worker.acceleration.circular import circular_twin
from worker.engine import Denoised, DenoiseRequest, Engine
from worker.engine.request import Ticket
from worker.engine.running import RunningRequest
from worker.engine.step_times import StepTimes
from worker.families import FAMILIES
from worker.models.checkpoint import Checkpoint
from worker.text.clip import encode_with_clip
from worker.text.conditioning import Conditioning, ConditioningInputs

Build = Callable[..., DenoiseRequest]


def silent(_step: int, _steps: int) -> None:
    """Nobody listens."""


def make(engine: Engine, request: DenoiseRequest) -> Denoised:
    return engine.submit(request, silent).result(60)


def pixels(done: Denoised) -> Any:
    return np.asarray(done.image).astype(int)


def image(value: int, width: int = 64, height: int = 64) -> Image.Image:
    return Image.new("RGB", (width, height), (value, 255 - value, 128))


def test_an_image_has_the_size_asked_for(engine: Engine, request_for: Build) -> None:
    """Given sides that are odd in latents, when an image is made, then it is RGB and of that size."""
    done = make(engine, request_for(width=72, height=136, steps=1))
    assert (done.image.size, done.image.mode) == ((72, 136), "RGB")


def test_the_same_request_gives_the_same_image_from_another_engine(
    engine: Engine, settings: Settings, catalogue: Catalogue, request_for: Build
) -> None:
    """Given a request with a stochastic sampler, when two processes' engines make it, then no bit differs."""
    other = Engine(settings, catalogue)
    other.start()
    try:
        request = request_for(sampler="k_euler_a", noise_seed=1, step_seed=2)
        assert (pixels(make(engine, request)) == pixels(make(other, request))).all()
    finally:
        other.stop()


@pytest.mark.parametrize(
    "different",
    [
        {"prompt": "a white duck"},
        {"prompt": "a photo of the (red:1.8) cat"},
        {"negative_prompt": ""},
        {"guidance_scale": 3.0},
        {"guidance_scale": -2.0},
        {"guidance_rescale": 0.5},
        {"clip_skip": 2},
        {"guidance_until": 0.5},
        {"schedule": "sgm_uniform"},
        {"noise_seed": 43},
        {"eta": 1.0},
        {"steps": 5},
        {"model": "tiny-sd2"},
        {"sampler": "k_heun"},
        {"prompt": "a photo of the red cat " * 40},
    ],
    ids=str,
)
def test_every_input_matters(different: dict[str, Any], engine: Engine, request_for: Build) -> None:
    """Given a request, when one of its inputs is changed, then the image is another."""
    assert (pixels(make(engine, request_for())) != pixels(make(engine, request_for(**different)))).any()


def test_layers_that_an_encoder_has_not_are_refused_by_name(engine: Engine, request_for: Build) -> None:
    """Given a small text encoder, when more layers are to be skipped than it has, then the error says how many may."""
    with pytest.raises(InvalidRequest) as wrong:
        make(engine, request_for(clip_skip=12))
    most = int(wrong.value.fields["clip_skip"][0].split()[4])
    assert make(engine, request_for(clip_skip=most, steps=1)).image


def test_the_step_seed_only_matters_to_stochastic_samplers(engine: Engine, request_for: Build) -> None:
    """Given one starting noise, when only the seed of the steps differs, then only stochastic samplers differ."""
    for sampler, differs in (("k_euler_a", True), ("k_dpmpp_sde", True), ("k_dpmpp_2s_a", True), ("k_euler", False)):
        one, two = (pixels(make(engine, request_for(sampler=sampler, step_seed=seed))) for seed in (1, 2))
        assert (one != two).any() == differs, sampler


def test_how_texts_were_read_is_said_with_every_image(engine: Engine, request_for: Build) -> None:
    """Given a split prompt and a tag, when images are made, then each says so; of an unused side nothing is said."""
    texts = {"prompt": "a cat:1 a dog:3", "negative_prompt": "<lora:x:1> a duck"}
    for _ in range(2):
        split, tag = make(engine, request_for(**texts)).warnings
        assert split.startswith("prompt: it was read as 2 sub-prompts")
        assert tag.startswith("negative_prompt: <lora:x:1> was taken out")
    assert make(engine, request_for(**texts, guidance_scale=1.0)).warnings == (split,)


def test_scale_one_is_no_guidance(engine: Engine, request_for: Build) -> None:
    """Given a scale of 1, when only the negative prompt differs, then the image does not."""
    one, two = (
        pixels(make(engine, request_for(guidance_scale=1.0, negative_prompt=text))) for text in ("dog", "duck " * 80)
    )
    assert (one == two).all()


def test_an_image_to_start_from_matters_less_with_more_strength(engine: Engine, request_for: Build) -> None:
    """Given two images, when strength grows, then the results depend on the image less."""

    def distance(strength: float) -> float:
        made = [
            pixels(make(engine, request_for(init_image=image(value), strength=strength, steps=10)))
            for value in (0, 255)
        ]
        return float(np.abs(made[0] - made[1]).mean())

    weak, strong, full = distance(0.2), distance(0.7), distance(1.0)
    assert weak > strong > full


@pytest.mark.parametrize("sampler", ["ddim", "plms", "k_euler_a", "k_dpmpp_2s_a", "k_dpm_fast", "k_dpm_ad"])
def test_strength_1_starts_from_noise_alone(sampler: str, engine: Engine, request_for: Build) -> None:
    """Given an image and strength 1, when it is reworked in few steps, then it is the image of the text alone."""
    for steps in (1, 8):
        alone = request_for(sampler=sampler, steps=steps)
        reworked = dataclasses.replace(alone, init_image=image(90))
        assert (pixels(make(engine, reworked)) == pixels(make(engine, alone))).all()


def test_noise_multiplier_scales_the_noise_that_is_added(engine: Engine, request_for: Build) -> None:
    """Given an image, when the noise multiplier differs, then the result does."""
    start, louder = (request_for(init_image=image(90), strength=0.5, noise_multiplier=by) for by in (1.0, 1.3))
    assert (pixels(make(engine, start)) != pixels(make(engine, louder))).any()


def test_full_strength_runs_every_step(engine: Engine, request_for: Build) -> None:
    """Given strengths, when images are reworked, then that share of the steps runs, and at least one."""

    def reported(strength: float) -> list[tuple[int, int]]:
        seen: list[tuple[int, int]] = []
        request = request_for(init_image=image(90), strength=strength, steps=10)
        engine.submit(request, lambda step, steps: seen.append((step, steps))).result(60)
        return seen

    for strength, steps in ((1.0, 10), (0.55, 5), (0.01, 1)):
        assert reported(strength) == [(number, steps) for number in range(1, steps + 1)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_progress_rises_to_its_end_in_every_sampler(sampler: str, engine: Engine, request_for: Build) -> None:
    """Given any sampler, when it runs, then step counts up by one, the share done only rises, and it ends at all."""
    seen: list[tuple[int, int]] = []
    request = request_for(sampler=sampler, steps=3)
    engine.submit(request, lambda step, steps: seen.append((step, steps))).result(60)
    assert [step for step, _ in seen] == list(range(1, len(seen) + 1))
    shares = [step / steps for step, steps in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert all(share < 1 for share in shares[:-1])


@pytest.mark.parametrize("error", [JobCancelled, LeaseLost, DeadlineExceeded])
def test_an_error_from_on_step_ends_the_request_within_that_step(
    error: type[Exception], engine: Engine, request_for: Build
) -> None:
    """Given a listener that objects at step 2, when the request runs, then it ends there with that error."""
    seen: list[int] = []

    def object_at_two(step: int, _steps: int) -> None:
        seen.append(step)
        if step == 2:
            raise error("enough")

    with pytest.raises(error, match="enough"):
        engine.submit(request_for(steps=20), object_at_two).result(60)
    assert seen == [1, 2]
    assert make(engine, request_for()).image


def test_a_failing_listener_ends_only_its_own_request(
    engine: Engine, request_for: Build, caplog: pytest.LogCaptureFixture
) -> None:
    """Given a listener that breaks, when others run beside it, then it alone fails, without details in its message."""

    def broken(_step: int, _steps: int) -> None:
        raise ZeroDivisionError("a secret detail")

    bad, good = engine.submit(request_for(), broken), engine.submit(request_for(), silent)
    with pytest.raises(InternalError) as failed:
        bad.result(60)
    assert "secret" not in str(failed.value)
    assert "a secret detail" in caplog.text
    assert good.result(60).image


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")],
    ids=["GPU", "CPU"],
)
def test_out_of_memory_has_its_own_error(error: Exception, engine: Engine, request_for: Build) -> None:
    """Given a device that is full, when a request runs, then it ends with OutOfMemory."""

    def full(_step: int, _steps: int) -> None:
        raise error

    with pytest.raises(OutOfMemory):
        engine.submit(request_for(), full).result(60)


def test_cancelling_a_running_request_ends_it(engine: Engine, request_for: Build) -> None:
    """Given a request under way, when it is cancelled, then it makes no further evaluation."""
    begun, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def wait_once(step: int, _steps: int) -> None:
        seen.append(step)
        begun.set()
        go_on.wait(60)

    ticket = engine.submit(request_for(steps=50), wait_once)
    assert begun.wait(60)
    ticket.cancel()
    go_on.set()
    with pytest.raises(JobCancelled):
        ticket.result(60)
    assert seen == [1]


def test_cancelling_a_waiting_request_ends_it_before_its_turn(engine: Engine, request_for: Build) -> None:
    """Given a request that waits behind another, when it is cancelled, then it ends while the other still runs."""
    begun, go_on = threading.Event(), threading.Event()
    waiting_is_over = threading.Event()

    def hold(step: int, _steps: int) -> None:
        begun.set()
        if step == 1:
            go_on.wait(60)
        else:
            assert waiting_is_over.wait(60)

    running = engine.submit(request_for(), hold)
    assert begun.wait(60)
    waiting = engine.submit(request_for(), silent)
    waiting.cancel()
    go_on.set()
    with pytest.raises(JobCancelled):
        waiting.result(60)
    waiting_is_over.set()
    assert running.result(60).image


def test_results_can_be_waited_for_in_vain(engine: Engine, request_for: Build) -> None:
    """Given a request that is not done, when its result is wanted within no time, then TimeoutError, and it goes on."""
    go_on = threading.Event()

    def hold(_step: int, _steps: int) -> None:
        go_on.wait(60)

    ticket = engine.submit(request_for(), hold)
    with pytest.raises(TimeoutError):
        ticket.result(0.01)
    go_on.set()
    assert ticket.result(60).image


def test_stopping_ends_what_runs_and_what_waits(settings: Settings, catalogue: Catalogue, request_for: Build) -> None:
    """Given an engine with work, when it is stopped, then every ticket ends with WorkerStopping, later ones too."""
    engine, begun = Engine(settings, catalogue), threading.Event()
    engine.start()
    tickets = [engine.submit(request_for(steps=500), lambda _step, _steps: begun.set()) for _ in range(3)]
    assert begun.wait(60)
    engine.stop()
    for ticket in [*tickets, engine.submit(request_for(), silent)]:
        with pytest.raises(WorkerStopping):
            ticket.result(1)


def test_missing_weights_name_the_place_for_them(engine: Engine, request_for: Build) -> None:
    """Given a model whose weights are nowhere, when it is asked for, then the error says where to put them."""
    with pytest.raises(ModelUnavailable, match=r"MODELS_DIR/absent.*ALLOW_DOWNLOADS=true"):
        make(engine, request_for(model="absent"))


def test_models_are_listed_as_available_and_as_warm(
    settings: Settings, catalogue: Catalogue, request_for: Build
) -> None:
    """Given an engine, when models are listed, then those with weights are available and those used are warm."""
    available = {model.name for model in catalogue} - {"absent"}
    engine = Engine(settings, catalogue)
    assert {model.name for model in catalogue} - set(engine.missing_models()) == available
    assert engine.warm_models() == []
    engine.start()
    make(engine, request_for(steps=1))
    assert engine.warm_models() == ["tiny-sd1"]
    engine.stop()
    downloading = Engine(dataclasses.replace(settings, allow_downloads=True), catalogue)
    assert downloading.missing_models() == {}


def test_an_idle_model_leaves_and_comes_back_by_itself(
    settings: Settings, catalogue: Catalogue, request_for: Build
) -> None:
    """Given MODEL_IDLE_S, when an engine has nothing to do for so long, then its model leaves, which the log tells; the
    next request draws the same image again."""
    left = threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "not used for" in record.getMessage():
                left.set()

    engine = Engine(dataclasses.replace(settings, model_idle_s=0.01), catalogue)
    engine.start()
    log, told = logging.getLogger("worker.models.cache"), Told()
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(told)
    try:
        before = pixels(make(engine, request_for(steps=2)))
        assert left.wait(60)
        assert engine.warm_models() == []
        assert np.array_equal(pixels(make(engine, request_for(steps=2))), before)
    finally:
        log.removeHandler(told)
        log.setLevel(level)
        engine.stop()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"sampler": "nobody"}, "sampler"),
        ({"width": 65}, "W"),
        ({"height": 0}, "H"),
        ({"steps": 0}, "ddim_steps"),
        ({"init_image": image(0, 32, 64)}, "init_img"),
        ({"mask": Image.new("L", (64, 64))}, "mask"),
        ({"init_image": image(0, 64, 64), "mask": Image.new("L", (64, 32))}, "mask"),
    ],
)
def test_impossible_requests_are_refused_at_the_door(
    wrong: dict[str, Any], field: str, engine: Engine, request_for: Build
) -> None:
    """Given a request that no model could carry out, when it is submitted, then the field is named at once."""
    with pytest.raises(InvalidRequest) as refused:
        engine.submit(request_for(**wrong), silent)
    assert list(refused.value.fields) == [field]


def test_one_row_a_call_gives_the_same_image_as_two(engine: Engine, request_for: Build) -> None:
    """Given unet_bs 1, when the guided pair runs as two passes, then it is reported, and the image stays the same."""
    one, two = make(engine, request_for(unet_bs=1)), make(engine, request_for(unet_bs=8))
    assert (one.used["unet_bs"], two.used["unet_bs"]) == (1, 2)
    assert np.abs(pixels(one) - pixels(two)).max() <= 1


def test_unet_bs_bounds_the_items_of_a_pass(
    settings: Settings, catalogue: Catalogue, request_for: Build, passes: list[int]
) -> None:
    """Given values of unet_bs, when the model is called, then no pass has more items, and None means the pair."""
    engine = Engine(settings, catalogue)
    engine.start()
    for at_most, scale, expected in ((1, 7.5, [1, 1]), (2, 7.5, [2]), (None, 7.5, [2]), (None, 1.0, [1])):
        passes.clear()
        make(engine, request_for(unet_bs=at_most, guidance_scale=scale, steps=1))
        assert passes == expected
    engine.stop()


@pytest.fixture
def two_threads(settings: Settings, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine in which whatever can share a pass does, so that equal requests end together."""
    monkeypatch.setattr(StepTimes, "share", lambda _self, counts: len(counts))
    monkeypatch.setattr("worker.engine.admission._ADMISSION_S", 60.0)
    engine = Engine(dataclasses.replace(settings, torch_threads=2), catalogue)
    engine.start()
    yield engine
    engine.stop()


def together(engine: Engine, *requests: DenoiseRequest) -> list[Ticket]:
    """Submit so that all are there before the first is begun."""
    with engine._inbox.changed:  # reentrant
        return [engine.submit(request, silent) for request in requests]


def test_images_that_are_done_together_are_decoded_together(
    two_threads: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given two threads, when requests end in the same pass, then they are decoded two at a time, and right."""
    requests = [request_for(noise_seed=seed) for seed in range(4)]
    solo = [pixels(make(two_threads, request)) for request in requests]
    met, decode = threading.Barrier(2), RunningRequest.decode

    def decode_when_both_are_here(running: RunningRequest, decoder: Any) -> Image.Image:
        met.wait(30)
        return decode(running, decoder)

    monkeypatch.setattr(RunningRequest, "decode", decode_when_both_are_here)
    for one, ticket in zip(solo, together(two_threads, *requests), strict=True):
        # more items in a pass, or fewer threads for a decoder, round differently
        assert abs(pixels(ticket.result(60)) - one).max() <= 1


def test_what_decodes_images_is_made_on_the_engine_s_thread(
    two_threads: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given images that tile, when they are decoded together, then the circular VAE that decodes them was made on the
    engine's thread, and no two threads make it at a time."""
    names: list[str] = []

    def noted(vae: Any) -> Any:
        names.append(threading.current_thread().name)
        return circular_twin(vae)

    monkeypatch.setattr("worker.vae.tiling.circular_twin", noted)
    for ticket in together(two_threads, *(request_for(noise_seed=seed, tiling=True) for seed in range(2))):
        ticket.result(60)
    assert len(names) >= 2
    assert len(set(names)) == 1
    assert not names[0].startswith("parallel")


def test_large_images_are_decoded_one_after_the_other(
    two_threads: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given images that together are larger than memory was reckoned for, then none is decoded beside another."""
    monkeypatch.setattr("worker.engine.decoding.PIXELS_AT_ONCE", 2 * 64 * 64 - 1)
    decode, at_work, most = RunningRequest.decode, [0], [0]

    def counted(running: RunningRequest, decoder: Any) -> Image.Image:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        time.sleep(0.05)
        made = decode(running, decoder)
        at_work[0] -= 1
        return made

    monkeypatch.setattr(RunningRequest, "decode", counted)
    for ticket in together(two_threads, *(request_for(noise_seed=seed) for seed in range(4))):
        ticket.result(60)
    assert most == [1]


def test_an_image_that_cannot_be_decoded_fails_alone(
    two_threads: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given images that are decoded together, when one of them fails, then it is tried alone, and others are well."""
    decode, tries = RunningRequest.decode, []

    def failing(running: RunningRequest, decoder: Any) -> Image.Image:
        if running.ticket.request.noise_seed == 1:
            tries.append(1)
            raise ValueError("a VAE of bad character")
        return decode(running, decoder)

    monkeypatch.setattr(RunningRequest, "decode", failing)
    well, bad = together(two_threads, request_for(noise_seed=0), request_for(noise_seed=1))
    assert well.result(60).image.size == (64, 64)
    with pytest.raises(InternalError):
        bad.result(60)
    assert tries == [1, 1]


class Broken(BaseException):
    """Not even an Exception."""


@pytest.mark.parametrize(
    ("failing", "raised"),
    [
        (
            "worker.hardware.devices.Device.empty_cache",
            RuntimeError("CUDA error: an illegal memory access was encountered"),
        ),
        ("worker.hardware.devices._compute", RuntimeError("CUDA error: unspecified launch failure")),
        ("worker.engine.scheduler.Scheduler.order", KeyError("a mistake of ours")),
        ("worker.engine.scheduler.Scheduler.order", Broken()),
    ],
    ids=["freeing", "computing", "our own mistake", "no Exception"],
)
def test_whatever_ends_the_thread_every_request_is_handed_back(
    settings: Settings, catalogue: Catalogue, request_for: Build, monkeypatch: pytest.MonkeyPatch,
    failing: str, raised: BaseException,
) -> None:  # fmt: skip
    """Given a device whose kernels raise forever, or an error where none is expected, when requests run, then each ends
    with an error that gives its task back, as one that counts where it was begun, the owner is told once, and new ones
    are refused in the same way."""
    monkeypatch.setattr("worker.engine.admission._ADMISSION_S", 60.0)
    told: list[BaseException] = []
    ended = threading.Event()

    def tell(error: BaseException) -> None:
        told.append(error)
        ended.set()

    engine = Engine(settings, catalogue, tell)

    def fail(*_: Any) -> Any:
        raise raised

    def breaks(_step: int, _steps: int) -> None:
        monkeypatch.setattr(failing, fail)
        waiting.append(engine.submit(request_for(), silent))
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    waiting: list[Ticket] = []
    running = [engine.submit(request_for(), breaks), engine.submit(request_for(), silent)]
    engine.start()
    assert ended.wait(60)
    first = InternalError if failing.endswith("order") else WorkerFailed  # the device is well then
    assert [type(ticket.outcome.exception(60)) for ticket in running] == [first, WorkerFailed]
    assert type(waiting[0].outcome.exception(60)) in (WorkerStopping, WorkerFailed)
    assert len(told) == 1
    assert type(engine.submit(request_for(), silent).outcome.exception(1)) is WorkerStopping
    engine.stop()
    assert not engine.alive


def test_what_was_not_begun_when_the_engine_failed_does_not_count(
    settings: Settings, catalogue: Catalogue, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an engine that fails while one request waits, then that one is put back as if it had never been taken."""
    engine = Engine(settings, catalogue)
    monkeypatch.setattr("worker.engine.scheduler.Scheduler.order", lambda *_: 1 / 0)
    waiting: list[Ticket] = []
    admit = engine._admission.admit

    def admit_and_submit() -> None:
        admit()
        waiting.append(engine.submit(request_for(), silent))

    monkeypatch.setattr(engine._admission, "admit", admit_and_submit)
    begun = engine.submit(request_for(), silent)
    engine.start()
    assert type(begun.outcome.exception(60)) is WorkerFailed
    assert type(waiting[0].outcome.exception(60)) is WorkerStopping


def test_a_device_that_is_full_is_not_lost(engine: Engine, request_for: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a device whose memory others have, when a request fails, then it alone does; the next is made."""

    def breaks(_step: int, _steps: int) -> None:
        raise RuntimeError("a kernel failed")

    with monkeypatch.context() as patched:
        patched.setattr(
            "worker.hardware.devices._compute", lambda _name: (_ for _ in ()).throw(torch.OutOfMemoryError())
        )
        with pytest.raises(InternalError):
            engine.submit(request_for(), breaks).result(60)
    assert make(engine, request_for()).image.size == (64, 64)


def test_those_that_run_make_a_step_between_two_that_come_in_slowly(
    settings: Settings, catalogue: Catalogue, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given texts that are slow to encode, when many wait, then one that runs makes a step between any two of them."""
    events: list[str] = []
    encode = encode_with_clip

    def slowly(checkpoint: Checkpoint, inputs: ConditioningInputs) -> Conditioning:
        if inputs.prompt == "slow":
            events.append("in")
            time.sleep(0.1)
        return encode(checkpoint, inputs)

    family = FAMILIES["sd1"]
    monkeypatch.setattr("worker.engine.running.FAMILIES", {"sd1": dataclasses.replace(family, encode=slowly)})
    engine = Engine(settings, catalogue)
    engine.start()
    try:
        begun, go_on = threading.Event(), threading.Event()

        def on_step(step: int, _steps: int) -> None:
            events.append("step")
            begun.set()
            if step == 1:
                go_on.wait(60)

        running = engine.submit(request_for(steps=500), on_step)
        assert begun.wait(60)
        slow = [engine.submit(request_for(prompt="slow", steps=1), silent) for _ in range(4)]
        go_on.set()
        for ticket in slow:
            ticket.result(60)
        running.cancel()
        assert events.count("in") == 4
        for one, two in itertools.pairwise([number for number, event in enumerate(events) if event == "in"]):
            assert two > one + 1
    finally:
        engine.stop()


def test_one_that_is_cancelled_while_others_come_in_does_not_come_in(
    settings: Settings, catalogue: Catalogue, request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given requests that come in together, when one is cancelled while another is encoded, then its text is not."""
    monkeypatch.setattr("worker.engine.admission._ADMISSION_S", 60.0)
    encoded: list[str] = []
    tickets: list[Ticket] = []

    def cancel_the_last(checkpoint: Checkpoint, inputs: ConditioningInputs) -> Conditioning:
        encoded.append(inputs.prompt)
        tickets[-1].cancel()
        return encode_with_clip(checkpoint, inputs)

    family = FAMILIES["sd1"]
    monkeypatch.setattr("worker.engine.running.FAMILIES", {"sd1": dataclasses.replace(family, encode=cancel_the_last)})
    engine = Engine(settings, catalogue)
    engine.start()
    try:
        with engine._inbox.changed:  # reentrant
            tickets += [engine.submit(request_for(prompt=text), silent) for text in ("cat", "dog", "duck")]
        assert tickets[0].result(60).image
        assert tickets[1].result(60).image
        with pytest.raises(JobCancelled):
            tickets[2].result(60)
        assert encoded == ["cat", "dog"]
    finally:
        engine.stop()


def test_texts_are_taken_apart_by_those_who_ask(engine: Engine, request_for: Build) -> None:
    """Given a prompt, when it is submitted, then it has been parsed before the engine's thread looks at it."""
    parse_prompt.cache_clear()
    with engine._inbox.changed:  # the engine's thread cannot see it yet
        ticket = engine.submit(request_for(prompt="a (white:1.2) duck", negative_prompt="a blue [dog]"), silent)
        assert parse_prompt.cache_info().currsize == 2
    assert ticket.result(60).image
    assert parse_prompt.cache_info().misses == 2
