"""A stock pipeline in float64 with the noise of its float32 self: what both arithmetics only come near to."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torchsde._brownian.brownian_interval as brownian


def in_double(pipeline: Any) -> Any:
    """A copy of a pipeline whose networks compute in float64."""
    double = copy.deepcopy(pipeline)
    for part in double.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(torch.float64)
    return double


@contextmanager
def noise_in_single() -> Iterator[None]:
    """While it lasts, noise is drawn in float32 whatever type is asked for, so that the same seeds give the same."""
    drawn, of_interval = torch.randn, brownian._randn

    def randn(*size: Any, dtype: torch.dtype | None = None, **others: Any) -> torch.Tensor:
        return drawn(*size, dtype=torch.float32, **others).to(dtype or torch.float32)

    def interval(size: Any, dtype: torch.dtype, device: Any, seed: Any) -> torch.Tensor:
        single: torch.Tensor = of_interval(size, torch.float32, device, seed)
        return single.to(dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", randn)
        patch.setattr(brownian, "_randn", interval)
        yield
