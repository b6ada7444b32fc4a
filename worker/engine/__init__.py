"""The denoising engine: requests in, images out, one thread for all torch work. Knows no queue and no HTTP."""

from worker.engine.curve_files import CurveFiles
from worker.engine.engine import Engine
from worker.engine.request import Denoised, DenoiseRequest, OnPreview, OnStep, Ticket, WantsPreview

__all__ = ["CurveFiles", "DenoiseRequest", "Denoised", "Engine", "OnPreview", "OnStep", "Ticket", "WantsPreview"]
