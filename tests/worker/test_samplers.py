"""Every sampler of the table: finite at any number of steps; and those written here against exact answers."""

import importlib.util
import itertools
import math
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from shared.catalogue.samplers import SAMPLERS
from worker.samplers import NOISE, PREDICTION, Noise, Start, Trajectory, X, begin
from worker.samplers.dpm_solver import step_orders
from worker.samplers.dpmpp_2s import ancestral_split
from worker.samplers.noise_schedule import NoiseSchedule

OWN = [name for name, sampler in SAMPLERS.items() if sampler.implementation.startswith("own:")]
CONFIG: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
}
SCHEDULE = NoiseSchedule(CONFIG)
CENTRE, SPREAD = 0.7, 0.5
SHAPE = (1, 4, 8, 9)

Denoiser = Callable[[torch.Tensor, float], torch.Tensor]


def exact(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The best guess at x0 where the data is N(CENTRE, SPREAD^2): the true answer of every solver is known."""
    return (x * SPREAD**2 + CENTRE * sigma**2) / (SPREAD**2 + sigma**2)


def two_peaks(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The best guess at x0 where the data is +1 or -1: far from linear."""
    return torch.tanh(x / sigma**2)


def predict(latents: torch.Tensor, timestep: float, prediction_type: str, denoiser: Denoiser) -> torch.Tensor:
    """What a model with this denoiser would answer, in its own parametrisation."""
    levels = np.exp(SCHEDULE._log_sigmas)
    sigma = float(np.exp(np.interp(timestep, np.arange(len(levels)), np.log(levels))))
    x = latents.double() * math.sqrt(sigma**2 + 1)
    x0 = denoiser(x, sigma)
    noise, alpha = (x - x0) / sigma, 1 / math.sqrt(sigma**2 + 1)
    answer = noise if prediction_type == "epsilon" else alpha * noise - sigma * alpha * x0
    return answer.to(latents.dtype)


Begun = tuple[torch.Tensor, Trajectory]


def run(begun: Begun, prediction_type: str = "epsilon", denoiser: Denoiser = exact) -> tuple[torch.Tensor, int]:
    """Play the engine: the final latents, and how often the model was asked."""
    latents, trajectory = begun
    registers, asked = {X: latents}, 0
    while evaluation := trajectory.next:
        answer = predict(evaluation.scale * registers[X], evaluation.timestep, prediction_type, denoiser)
        sources, asked = registers | {PREDICTION: answer}, asked + 1
        if evaluation.draws:
            sources[NOISE] = trajectory.noise()
        following = trajectory.advance(answer)
        registers |= {
            target: sum((weight * sources[source] for source, weight in row.items()), torch.zeros(SHAPE))
            for target, row in evaluation.rows().items()
        }
        if following is not None:
            registers[X] = following
    return registers[X], asked


# those that stand for the others in `make test`: their kinds, and all that are written here
FEW = ("ddim", "k_euler_a", "k_dpmpp_2m", "k_dpmpp_2s_a", "k_dpm_fast", "k_dpm_ad")


def few_or_full(sampler: str, other: str) -> Any:
    return pytest.param(sampler, other, marks=[] if sampler in FEW else pytest.mark.full)


PREDICTING = [
    # on Karras' levels each is the sampler that it is without
    *(pytest.param(name, "epsilon", marks=pytest.mark.full if name.endswith("_ka") else []) for name in SAMPLERS),
    *(few_or_full(name, "v_prediction") for name in SAMPLERS),
]


def begun(
    sampler: str, steps: int, image: bool = False, prediction_type: str = "epsilon", schedule: str = "automatic"
) -> Begun:
    noise = Noise(3, 3)
    drawn = torch.randn(SHAPE, generator=noise.start)
    start = Start(drawn, torch.full(SHAPE, CENTRE), strength=0.6) if image else Start(drawn)
    config = CONFIG | {"prediction_type": prediction_type}
    return begin(sampler, config, steps, 0.0, start, noise, schedule=schedule)


@pytest.mark.parametrize(("sampler", "prediction_type"), PREDICTING)
def test_latents_are_finite_at_any_number_of_steps(sampler: str, prediction_type: str) -> None:
    """Given a sampler and a kind of model, when it runs, then its latents are finite and its evaluations as announced.

    From text and from an image alike.
    """
    for steps, image in itertools.product((1, 2, 5, 20, 50), (False, True)):
        start = begun(sampler, steps, image, prediction_type)
        latents, asked = run(start, prediction_type)
        assert latents.shape == SHAPE
        assert bool(torch.isfinite(latents).all())
        assert asked == (start[1].evaluations or asked) > 0


SCHEDULED = [
    few_or_full(name, schedule)
    for name in SAMPLERS
    for schedule in SAMPLERS[name].schedules
    if not name.endswith("_ka")
]


@pytest.mark.parametrize(("sampler", "schedule"), SCHEDULED)
def test_latents_are_finite_on_every_schedule(sampler: str, schedule: str) -> None:
    """Given a schedule that a sampler can, when few and many steps run, from text and from an image, then the latents
    are finite, and about those of the data once there are enough."""
    for steps, image in itertools.product((1, 2, 25), (False, True)):
        latents, _ = run(begun(sampler, steps, image, schedule=schedule))
        assert bool(torch.isfinite(latents).all())
    assert float(latents.mean()) == pytest.approx(CENTRE, abs=0.12)
    assert float(latents.std()) == pytest.approx(SPREAD, abs=0.2)


@pytest.mark.full
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_latents_are_finite_at_as_many_steps_as_may_be_asked_for(sampler: str) -> None:
    """Given the highest number of steps that a request may have, when a sampler runs, then its latents are finite."""
    for steps, image in itertools.product((998, 999), (False, True)):
        latents, _ = run(begun(sampler, steps, image))
        assert bool(torch.isfinite(latents).all())


# what a maker's scheduler was set to, in configs that people have, and what diffusers understands
FOREIGN = {
    "_class_name": "DPMSolverMultistepScheduler",
    "_diffusers_version": "0.19.0",
    "use_karras_sigmas": True,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "algorithm_type": "sde-dpmsolver++",
    "solver_order": 3,
    "solver_type": "heun",
    "lower_order_final": False,
    "euler_at_final": True,
    "final_sigmas_type": "sigma_min",
    "timestep_type": "continuous",
    "interpolation_type": "log_linear",
    "sigma_min": 0.1,
    "sigma_max": 5.0,
    "thresholding": True,
    "dynamic_thresholding_ratio": 0.5,
    "sample_max_value": 0.5,
    "clip_sample": True,
    "clip_sample_range": 0.1,
    "set_alpha_to_one": True,
    "skip_prk_steps": False,
    "variance_type": "learned_range",
    "use_flow_sigmas": True,
    "a_newer_flag": 3,
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_means_the_same_whatever_scheduler_its_model_came_with(sampler: str) -> None:
    """Given a model whose config sets up a scheduler of its own, when a sampler runs, then nothing of it is used."""
    plain, _ = run(begun(sampler, 8))
    noise = Noise(3, 3)
    start = Start(torch.randn(SHAPE, generator=noise.start))
    config = {**CONFIG, "prediction_type": "epsilon", **FOREIGN}
    flagged, _ = run(begin(sampler, config, 8, 0.0, start, noise))
    assert torch.equal(plain, flagged)


@pytest.mark.slow
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
# LCM is for models that were distilled for it: it takes each guess at x0, a mean, for a sample
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "lcm"])
def test_samples_come_from_the_distribution_of_the_data(sampler: str, prediction_type: str) -> None:
    """Given a model that knows its data exactly, when 30 steps run, then mean and spread are those of the data."""
    latents, _ = run(begun(sampler, 30, prediction_type=prediction_type), prediction_type)
    assert float(latents.mean()) == pytest.approx(CENTRE, abs=0.12)
    assert float(latents.std()) == pytest.approx(SPREAD, abs=0.12)


@pytest.mark.parametrize(("sampler", "steps", "close"), [("k_dpm_fast", 30, 0.01), ("k_dpm_ad", 1, 0.05)])
def test_deterministic_solvers_follow_the_exact_solution(sampler: str, steps: int, close: float) -> None:
    """Given data whose probability flow has a closed form, when a solver runs, then it ends where the flow ends."""
    latents, _ = run(begun(sampler, steps))
    high, low = SCHEDULE.sigma_max, SCHEDULE.sigma_min
    begin_at = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3)) * high
    flow = CENTRE + (begin_at - CENTRE) * math.sqrt((SPREAD**2 + low**2) / (SPREAD**2 + high**2))
    assert float((latents - flow).abs().max()) < close


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_decides_everything(sampler: str) -> None:
    """Given the same seeds, when a sampler runs twice, then the latents are the same in every bit."""
    assert torch.equal(run(begun(sampler, 4))[0], run(begun(sampler, 4))[0])


@pytest.mark.parametrize("evaluations", range(1, 40))
def test_fixed_budget_is_spent_exactly(evaluations: int) -> None:
    """Given a budget, when orders are chosen for DPM-Solver-fast, then they cost the budget, none above three."""
    orders = step_orders(evaluations)
    assert sum(orders) == evaluations
    assert set(orders) <= {1, 2, 3}


@pytest.mark.parametrize(("sigma", "target"), [(14.6, 9.0), (2.0, 1.9), (1.0, 0.03)])
def test_ancestral_split_keeps_the_variance(sigma: float, target: float) -> None:
    """Given two noise levels, when a step is split, then what remains and what is added make up the target level."""
    down, up = ancestral_split(sigma, target)
    assert math.hypot(down, up) == pytest.approx(target)
    assert 0 < up <= target


def test_an_image_is_changed_more_by_more_strength() -> None:
    """Given an image of one value, when strength grows, then each sampler written here starts at a higher noise."""
    for sampler in OWN:
        first = []
        for strength in (0.2, 0.5, 1.0):
            start = Start(torch.ones(SHAPE), torch.zeros(SHAPE), strength)
            latents, trajectory = begin(sampler, CONFIG, 20, 0.0, start, Noise(1, 1))
            assert trajectory.next
            first.append((trajectory.next.timestep, float(latents.mean())))
        assert first == sorted(first)
        assert len(set(first)) == 3


def test_a_wild_model_cannot_hold_the_adaptive_solver() -> None:
    """Given a model that answers nonsense, when the adaptive solver runs, then it ends after a bounded number."""

    def nonsense(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return torch.where(torch.sin(1e4 * x + 1e3 * sigma) > 0, 1e3, math.nan if sigma < 1 else -1e3).to(x.dtype)

    _, asked = run(begun("k_dpm_ad", 20), denoiser=nonsense)
    assert asked < 1500


@pytest.fixture(scope="module")
def k_diffusion_sampling() -> types.ModuleType:
    """The sampling module of the k-diffusion package alone; the rest of it needs a training stack."""
    package = importlib.util.find_spec("k_diffusion")
    if package is None or not package.submodule_search_locations:
        pytest.skip("k-diffusion is not installed: pip install --no-deps k-diffusion to compare with it")
    stubs: dict[str, Any] = {
        name: types.ModuleType(name) for name in ("k_diffusion", "k_diffusion.utils", "torchdiffeq")
    }
    stubs["k_diffusion"].utils = stubs["k_diffusion.utils"]
    stubs["torchdiffeq"].odeint = None
    stubs["k_diffusion.utils"].append_dims = lambda x, _ndim: x.reshape(-1, 1, 1, 1)
    file = Path(package.submodule_search_locations[0]) / "sampling.py"
    spec = importlib.util.spec_from_file_location("k_diffusion.sampling", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    before = dict(sys.modules)
    sys.modules.update(stubs)
    try:
        spec.loader.exec_module(module)
    finally:
        for name in stubs:
            sys.modules.pop(name)
        sys.modules.update({name: kept for name, kept in before.items() if name in stubs})
    return module


@pytest.mark.parametrize("denoiser", [exact, two_peaks])
@pytest.mark.parametrize("sampler", OWN)
def test_samplers_written_here_agree_with_k_diffusion(
    sampler: str, denoiser: Denoiser, k_diffusion_sampling: types.ModuleType
) -> None:
    """Given the package that made these samplers known, when both run the same model, then the latents agree."""
    ours, _ = run(begun(sampler, 11), denoiser=denoiser)
    noise = torch.Generator().manual_seed(3)
    x = torch.randn(SHAPE, generator=noise).double() * SCHEDULE.sigma_max
    edges = {"sigma_min": SCHEDULE.sigma_min, "sigma_max": SCHEDULE.sigma_max, "disable": True}
    spacing: dict[str, Any] = dict(SAMPLERS[sampler].arguments)
    levels = torch.tensor(SCHEDULE.sigmas(11, **spacing), dtype=torch.float64)
    calls: dict[str, Callable[[Any], Any]] = {
        "own:dpmpp_2s_ancestral": lambda model: k_diffusion_sampling.sample_dpmpp_2s_ancestral(
            model,
            x,
            levels,
            disable=True,
            noise_sampler=lambda _sigma, _next: torch.randn(SHAPE, generator=noise).double(),
        ),
        "own:dpmpp_3m_sde": lambda model: k_diffusion_sampling.sample_dpmpp_3m_sde(
            model,
            x,
            levels,
            disable=True,
            noise_sampler=lambda _sigma, _next: torch.randn(SHAPE, generator=noise).double(),
        ),
        "own:dpm_fast": lambda model: k_diffusion_sampling.sample_dpm_fast(model, x, n=11, **edges),
        "own:dpm_adaptive": lambda model: k_diffusion_sampling.sample_dpm_adaptive(model, x, **edges),
    }
    theirs = calls[SAMPLERS[sampler].implementation](lambda x, sigma, **_: denoiser(x, float(sigma[0])))
    assert float((ours - theirs).abs().max()) < 1e-3


@pytest.mark.parametrize("denoiser", [exact, two_peaks])
def test_the_stochastic_second_order_is_that_of_k_diffusion(
    denoiser: Denoiser, k_diffusion_sampling: types.ModuleType
) -> None:
    """Given DPM++ 2M SDE, read off diffusers, when k-diffusion's runs on the same noise levels, then they agree."""
    ours, _ = run(begun("k_dpmpp_2m_sde", 11), denoiser=denoiser)
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(CONFIG)
    scheduler.set_timesteps(11)
    noise = torch.Generator().manual_seed(3)
    levels = scheduler.sigmas.double()
    x = torch.randn(SHAPE, generator=noise).double() * (levels[0] ** 2 + 1).sqrt()
    theirs = k_diffusion_sampling.sample_dpmpp_2m_sde(
        lambda x, sigma, **_: denoiser(x, float(sigma[0])),
        x,
        levels,
        disable=True,
        noise_sampler=lambda _sigma, _next: torch.randn(SHAPE, generator=noise).double(),
    )
    assert float((ours - theirs).abs().max()) < 1e-3
