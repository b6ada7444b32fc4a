"""Plans against the schedulers that they were read off."""

import importlib
import inspect
import math
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from shared.catalogue.samplers import SAMPLERS
from shared.catalogue.schedules import SCHEDULES
from worker.samplers import NOISE, PREDICTION, Noise, Plan, Start, StepRange, X, plan_of
from worker.samplers.plan import N, P, Recorded, compiled
from worker.samplers.recording import START, Draw, Point, WeightedSum, recorded_plan
from worker.samplers.schedulers import scheduler_plan
from worker.samplers.step_noise import draws

STOCK = [name for name, sampler in SAMPLERS.items() if not sampler.implementation.startswith("own:")]
# without noise, with noise, of the second order; where these stand for the others, the others are in test-full
FEW = ("ddim", "k_euler_a", "k_dpmpp_2m", "k_dpmpp_sde")
CONFIG: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
}
SHAPE = (1, 4, 6, 7)
SEED = 11


def few_or_full(sampler: str, *others: str) -> Any:
    return pytest.param(sampler, *others, marks=[] if sampler in FEW else pytest.mark.full)


PREDICTING = [
    # on Karras' levels each is the sampler that it is without
    *(pytest.param(name, "epsilon", marks=pytest.mark.full if name.endswith("_ka") else []) for name in STOCK),
    *(few_or_full(name, "v_prediction") for name in STOCK),
]


def prediction(number: int) -> torch.Tensor:
    """What the model says at the evaluation of that number; whatever it is given, so that no error grows."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(number))


def by_stock(
    sampler: str, config: dict[str, Any], steps: StepRange, eta: float, schedule: str = "automatic"
) -> list[torch.Tensor]:
    """What the model is given at each evaluation, and the latents at the end, as the stock pipelines' loop has it.

    In double, since some schedulers divide small differences of large latents; the noise is that of float32.
    """
    kind, noise = getattr(diffusers, SAMPLERS[sampler].implementation), Noise(SEED, SEED)
    seed = {"noise_sampler_seed": SEED} if "noise_sampler_seed" in inspect.signature(kind.__init__).parameters else {}
    scheduler = kind.from_config(config, **SAMPLERS[sampler].arguments_on(schedule), **seed)
    scheduler.set_timesteps(steps.steps)
    begin = steps.skipped * scheduler.order
    drawn = torch.randn(SHAPE, generator=noise.start)
    latents = drawn * scheduler.init_noise_sigma
    if steps.strength is not None:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(begin)
        latents = scheduler.add_noise(torch.full(SHAPE, 0.3), drawn, scheduler.timesteps[begin : begin + 1])
    # a Brownian tree of doubles has other noise
    dtype = torch.float32 if seed else torch.float64
    latents = latents.to(dtype)
    offered = {"eta": eta, "generator": noise.steps}
    understood = {name: offered[name] for name in offered if name in inspect.signature(scheduler.step).parameters}
    seen = []
    for number, timestep in enumerate(scheduler.timesteps[begin:]):
        seen.append(scheduler.scale_model_input(latents, timestep))
        latents = scheduler.step(prediction(number).to(dtype), timestep, latents, **understood, return_dict=False)[0]
    return [*seen, latents]


def by_plan(plan: Plan, steps: StepRange) -> list[torch.Tensor]:
    """The same from the table alone."""
    noise = Noise(SEED, SEED)
    drawn = torch.randn(SHAPE, generator=noise.start)
    start = Start(drawn, None if steps.strength is None else torch.full(SHAPE, 0.3))
    stream = draws(plan, noise, SHAPE)
    registers = {X: start.latents(plan.image_weight, plan.noise_weight)}
    seen = []
    for number, evaluation in enumerate(plan.evaluations):
        seen.append(evaluation.scale * registers[X])
        sources = registers | {PREDICTION: prediction(number)}
        if evaluation.draws:
            sources[NOISE] = next(stream)
        registers |= {
            target: sum((weight * sources[source] for source, weight in row.items()), torch.zeros(SHAPE))
            for target, row in evaluation.rows().items()
        }
    assert next(stream, None) is None, "the stream is drawn to its end"
    assert registers.keys() <= set(range(plan.registers))
    return [*seen, registers[X]]


@pytest.fixture
def float32_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedulers draw float32 noise whatever they compute in."""

    def drawn(shape: Any, generator: torch.Generator, dtype: torch.dtype, **_: Any) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    for name in STOCK:
        module = importlib.import_module(getattr(diffusers, SAMPLERS[name].implementation).__module__)
        monkeypatch.setattr(module, "randn_tensor", drawn, raising=False)


@pytest.mark.usefixtures("float32_noise")
@pytest.mark.parametrize(("sampler", "prediction_type"), PREDICTING)
def test_a_plan_replays_its_scheduler(sampler: str, prediction_type: str) -> None:
    """Given a scheduler and its plan, when the model says the same to both, then they ask it the same and end alike.

    From noise and from the middle, as an image starts; with and without eta; at few steps and at many.
    """
    config = CONFIG | {"prediction_type": prediction_type}
    for steps in (StepRange(1), StepRange(2), StepRange(7), StepRange(30), StepRange(9, 0.5), StepRange(20, 0.05)):
        for eta in (0.0, 0.7) if SAMPLERS[sampler].uses_eta else (0.0,):
            plan = plan_of(sampler, config, steps, eta)
            assert plan is not None
            theirs, ours = by_stock(sampler, config, steps, eta), by_plan(plan, steps)
            assert len(ours) == len(theirs)
            for one, other in zip(ours, theirs, strict=True):
                assert float((one - other).abs().max()) <= 1e-5 * max(1.0, float(other.abs().max()))


SCHEDULED = [
    few_or_full(name, schedule) for name in STOCK for schedule in SAMPLERS[name].schedules if not name.endswith("_ka")
]


@pytest.mark.usefixtures("float32_noise")
@pytest.mark.parametrize(("sampler", "schedule"), SCHEDULED)
def test_a_plan_replays_its_scheduler_on_every_schedule(sampler: str, schedule: str) -> None:
    """Given a schedule that a sampler can, when the scheduler and the plan run on it, then they ask and end alike, for
    a model whose config asks for another spacing of the timesteps."""
    config = CONFIG | {"timestep_spacing": "leading"}
    for steps in (StepRange(7), StepRange(12, 0.6)):
        plan = plan_of(sampler, config, steps, 0.0, schedule)
        assert plan is not None
        theirs, ours = by_stock(sampler, config, steps, 0.0, schedule), by_plan(plan, steps)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert float((one - other).abs().max()) <= 1e-5 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize(
    "sampler", ["ddim", "k_euler", "k_dpmpp_2s_a", "k_dpmpp_3m_sde", "k_lms_ka", "lcm", "k_dpm_ad"]
)
def test_schedules_are_different_plans(sampler: str) -> None:
    """Given a sampler, when its plans on all its schedules are made, then those of different levels differ, and a
    schedule that it cannot is refused."""
    entry = SAMPLERS[sampler]
    config = CONFIG | {"timestep_spacing": "leading"}
    plans = {schedule: plan_of(sampler, config, StepRange(6), 0.0, schedule) for schedule in entry.schedules}
    assert len(set(map(str, plans.values()))) == len(plans)
    for schedule in SCHEDULES:
        if not entry.can(schedule):
            with pytest.raises(ValueError, match="does not run on"):
                plan_of(sampler, CONFIG, StepRange(6), 0.0, schedule)


@pytest.mark.parametrize("sampler", ["ddim", "plms", "k_euler", "k_lms", "k_heun", "k_dpmpp_2m", "uni_pc", "ddpm"])
def test_trailing_steps_are_as_many_as_asked_for(sampler: str) -> None:
    """Given a number of steps for which diffusers makes one too many, when its plan is made, then it is not in it."""
    plan = plan_of(sampler, CONFIG, StepRange(61), 0.0, "sgm_uniform")
    assert plan is not None
    last = plan_of(sampler, CONFIG, StepRange(60), 0.0, "sgm_uniform")
    assert last is not None
    per_step = SAMPLERS[sampler].evaluations_per_step
    assert len(plan.evaluations) == len(last.evaluations) + (per_step or 0)
    assert min(evaluation.timestep for evaluation in plan.evaluations) >= 0


@pytest.mark.parametrize("sampler", [few_or_full(name) for name in STOCK])
def test_no_step_begins_beyond_the_last_timestep(sampler: str) -> None:
    """Given a model whose timesteps are shifted by one, when all but one of them are asked for, then the plan stays
    within them, and all its weights are numbers."""
    plan = plan_of(sampler, CONFIG | {"timestep_spacing": "leading", "steps_offset": 1}, StepRange(999), 0.0)
    assert plan is not None
    assert max(evaluation.timestep for evaluation in plan.evaluations) <= 999
    assert all(math.isfinite(weight) for evaluation in plan.evaluations for weight in evaluation.weights)


def test_a_plan_is_made_once() -> None:
    """Given a plan that was asked for, when it is asked for again, then it is the same object; an eta that the sampler
    does not use makes no other."""
    first = plan_of("k_euler", CONFIG, StepRange(6), 0.0)
    assert plan_of("k_euler", dict(CONFIG), StepRange(6), 1.0) is first
    assert plan_of("k_euler", CONFIG, StepRange(7), 0.0) is not first


def test_the_sampler_that_chooses_its_steps_has_no_plan() -> None:
    """Given DPM adaptive, whose steps depend on the model, when its plan is asked for, then there is none."""
    assert plan_of("k_dpm_ad", CONFIG, StepRange(6), 0.0) is None


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "k_dpm_ad"])
def test_a_plan_needs_few_registers(sampler: str) -> None:
    """Given any sampler, when its plan is made, then at most four tensors are kept for it, at any number of steps."""
    for steps in (StepRange(5), StepRange(60)):
        plan = plan_of(sampler, CONFIG, steps, 0.0)
        assert plan is not None
        assert plan.registers <= 4


def test_a_printed_plan_can_be_followed_by_hand() -> None:
    """Given a plan, when it is printed, then it has a line an evaluation with the numbers that are computed with."""
    plan = plan_of("ddim", CONFIG, StepRange(4), 0.0)
    assert plan is not None
    lines = [line for line in str(plan).splitlines() if line.startswith("│")]
    assert [line.split("│")[2].strip() for line in lines] == ["751", "501", "251", "1"]
    x, p = plan.evaluations[0].weights
    assert f"x = {x:.6g} x - {-p:.6g} p" in lines[0]


def test_values_that_nothing_comes_of_take_no_register() -> None:
    """Given a run that makes a value and never uses it, when it is compiled, then one register does."""
    made = {"x1": {"x0": 2.0, P: 1.0}, "idle": {P: 5.0}, "n0": {N: 1.0}}
    plan = compiled(0.0, 1.0, [Recorded("x0", 9.0, 1.0, True, made)], "x1")
    assert plan.registers == 1
    assert plan.evaluations[0].rows() == {X: {X: 2.0, PREDICTION: 1.0}}
    assert plan.evaluations[0].draws


def test_a_sampler_may_only_do_what_a_plan_can() -> None:
    """Given samplers that draw twice at once, or start elsewhere, when they are recorded, then each is refused."""

    def draws_twice() -> Any:
        x, p = yield Point(START, 1.0, 1.0)
        one = yield Draw()
        return x + p + one + (yield Draw())

    def starts_elsewhere() -> Any:
        x, _ = yield Point(START * 2.0, 1.0, 1.0)
        return x

    for sampler in (draws_twice, starts_elsewhere):
        with pytest.raises(ValueError, match=r"draw of noise|starts from"):
            recorded_plan(sampler(), 0.0, 1.0)
    with pytest.raises(ValueError, match="never asks"):
        compiled(0.0, 1.0, [], "x0")


def test_latents_by_name_add_and_scale() -> None:
    """Given sums of named latents, when they are added and scaled, then the weights are those of arithmetic."""
    one, two = WeightedSum({"a": 1.0}), WeightedSum({"b": 2.0})
    assert (2.0 * one - two / 4.0 + one).terms == {"a": 3.0, "b": -0.5}


class Shifting(diffusers.EulerDiscreteScheduler):  # type: ignore[misc]  # diffusers has no types
    """A scheduler that is no table of numbers."""

    def step(self, model_output: Any, timestep: Any, sample: Any, **named: Any) -> Any:
        return (super().step(model_output, timestep, sample, **named)[0] + 1.0,)


def test_a_scheduler_that_is_not_linear_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a scheduler that adds a constant, when its plan is made, then an error says what it is."""
    monkeypatch.setattr(diffusers, "Shifting", Shifting, raising=False)
    with pytest.raises(ValueError, match="not linear"):
        scheduler_plan("Shifting", "{}", "{}", StepRange(3), 0.0)


def test_the_plan_in_the_documentation_is_the_one_that_runs() -> None:
    """Given the page on the architecture, when its table is compared with the plan that is made, then they are one."""
    plan = plan_of("k_dpmpp_2m", CONFIG | {"prediction_type": "epsilon"}, StepRange(4), 0.0)
    assert str(plan).rstrip() in (Path(__file__).parents[3] / "docs/architecture.md").read_text()
