"""A model's noise levels, for the samplers written here.

They work in the coordinates of Karras et al. (arXiv 2206.00364): `x = x0 + sigma * n`, where sigma is
`sqrt((1 - a) / a)` for a cumulative alpha `a`, and the model sees `x / sqrt(sigma^2 + 1)`.
"""

import math
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from scipy.stats import beta

from worker.samplers.recording import Point

_RHO = 7.0  # Karras et al., section 3, "Discretization"
_BETA = 0.6  # Lee et al., section 4
_SMALLEST_ALPHA = 2.0**-24  # where a schedule ends in pure noise, sigma would be infinite

# model output at x and sigma -> x0. Velocity: Salimans and Ho, arXiv 2202.00512, appendix D.
_TO_X0: Mapping[str, Callable[[Any, Any, float], Any]] = {
    "epsilon": lambda x, output, sigma: x - sigma * output,
    "v_prediction": lambda x, output, sigma: x / (sigma**2 + 1) - output * (sigma / math.sqrt(sigma**2 + 1)),
    "sample": lambda _x, output, _sigma: output,
}

# x, x0 and sigma -> the model output that says so
_FROM_X0: Mapping[str, Callable[[Any, Any, float], Any]] = {
    "epsilon": lambda x, x0, sigma: (x - x0) / sigma,
    "v_prediction": lambda x, x0, sigma: (x / (sigma**2 + 1) - x0) * (math.sqrt(sigma**2 + 1) / sigma),
    "sample": lambda _x, x0, _sigma: x0,
}


class NoiseSchedule:
    """Noise levels from a model's scheduler config: sigma against timestep, interpolated in log sigma."""

    def __init__(self, scheduler_config: Mapping[str, Any]) -> None:
        base = DDIMScheduler.from_config(dict(scheduler_config))
        alphas = base.alphas_cumprod.double().clamp(min=_SMALLEST_ALPHA).numpy()
        self._log_sigmas = np.log((1 - alphas) / alphas) / 2
        self._to_x0 = _TO_X0[base.config.prediction_type]
        self._from_x0 = _FROM_X0[base.config.prediction_type]
        self.sigma_min = float(np.exp(self._log_sigmas[0]))
        self.sigma_max = float(np.exp(self._log_sigmas[-1]))

    def timestep(self, sigma: float) -> float:
        """The (fractional) timestep with this noise level."""
        return float(np.interp(math.log(sigma), self._log_sigmas, np.arange(len(self._log_sigmas))))

    def sigma_at(self, share: float) -> float:
        """The noise level at this share of the whole time: 1 gives the highest."""
        last = len(self._log_sigmas) - 1
        return float(np.exp(np.interp(share * last, np.arange(last + 1), self._log_sigmas)))

    def sigmas(
        self,
        steps: int,
        *,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
        timestep_spacing: str = "linspace",
    ) -> list[float]:
        """`steps` falling noise levels from the highest on, then 0.

        As Karras et al. space them (equation 5); evenly in log sigma; by the quantiles of a beta distribution (Lee et
        al., arXiv 2407.12173); or else evenly in time, down to the lowest level or, `trailing`, to a step above it.
        """
        high, low, last = self.sigma_max, self.sigma_min, len(self._log_sigmas) - 1
        if use_karras_sigmas:
            levels = np.linspace(high ** (1 / _RHO), low ** (1 / _RHO), steps) ** _RHO
        elif use_exponential_sigmas:
            levels = np.exp(np.linspace(math.log(high), math.log(low), steps))
        elif use_beta_sigmas:
            levels = low + (high - low) * beta.ppf(np.linspace(1, 0, steps), _BETA, _BETA)
        else:
            times = (
                np.linspace(last, 0, steps + 1)[:-1] if timestep_spacing == "trailing" else np.linspace(last, 0, steps)
            )
            levels = np.exp(np.interp(times, np.arange(last + 1), self._log_sigmas))
        return [*(float(level) for level in levels), 0.0]

    def clean(self, latents: torch.Tensor, output: torch.Tensor, timestep: float) -> torch.Tensor:
        """The clean latents x0 that a model's output at a timestep speaks of; `latents` as the model saw them."""
        sigma = math.exp(float(np.interp(timestep, np.arange(len(self._log_sigmas)), self._log_sigmas)))
        clean: torch.Tensor = self._to_x0(latents * math.sqrt(sigma**2 + 1), output, sigma)
        return clean

    def promising(self, x: torch.Tensor, clean: torch.Tensor, sigma: float) -> torch.Tensor:
        """The model output at `x` that promises these clean latents."""
        output: torch.Tensor = self._from_x0(x, clean, sigma)
        return output

    def denoise(self, x: Any, sigma: float) -> Generator[Point, Any, tuple[Any, Any]]:
        """Ask for one evaluation; returns `x` and the model's idea of the clean latents x0."""
        x, output = yield Point(x, self.timestep(sigma), 1 / math.sqrt(sigma**2 + 1))
        return x, self._to_x0(x, output, sigma)

    def noise_direction(self, x: Any, sigma: float) -> Generator[Point, Any, tuple[Any, Any]]:
        """Ask for one evaluation; returns `x` and the model's idea of the noise, `(x - x0) / sigma`."""
        x, x0 = yield from self.denoise(x, sigma)
        return x, (x - x0) / sigma
