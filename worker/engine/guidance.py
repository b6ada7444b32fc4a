"""How the predictions of one request's batch items become the one that its sampler is sent."""

import torch

NO_GUIDANCE = 1.0
"""The guidance scale of a request that is one batch item, without one of what to avoid."""


def guided(predictions: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598); a single prediction is returned as it is.

    `(2, C, h, w)`, what to avoid first -> `(1, C, h, w)`.
    """
    if scale == NO_GUIDANCE:
        return predictions
    avoid, draw = predictions.chunk(2)
    return avoid + scale * (draw - avoid)
