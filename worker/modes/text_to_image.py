"""Noise alone."""

from worker.modes.base import Canvas
from worker.samplers import Start


def start(canvas: Canvas, noise_multiplier: float) -> Start:
    """Start from noise, scaled by `noise_multiplier`."""
    return Start(canvas.drawn(), noise_multiplier=noise_multiplier)
