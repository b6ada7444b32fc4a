"""Stable Diffusion XL: two text encoders, and beside their text its pooled form and the sizes of the image.

The text is what CLIP ViT-L and OpenCLIP ViT-bigG say in their next-to-last layers, side by side, 2048 wide; the pooled
text is bigG's, projected (Podell et al., arXiv 2307.01952, 2.1). What a prompt may have beyond the stock pipeline
follows the A1111 web UI: weights act on each encoder's hidden states, whose mean is restored for each apart, and not on
the pooled text, which is that of the first chunk. Of blended sub-prompts it is blended as the text is.
"""

from typing import Any

import torch

from worker.families.base import Family
from worker.families.unet import GUIDANCE, guidance_told, residuals_told, with_channels
from worker.models.checkpoint import Checkpoint
from worker.text.clip import Clip, Encoding, encode_texts, remarks
from worker.text.conditioning import TEXT, Conditioning, ConditioningInputs, NamedTensors
from worker.text.fitting import fitting
from worker.vae.latents import to_latents, to_pixels

POOLED, SIZES = "text_embeds", "time_ids"
"""The names, diffusers' own, of the pooled text `(B, 1280)` and of the sizes `(B, 6)`."""
_NEXT_TO_LAST = -2
_CLIPS = (Clip(layer=_NEXT_TO_LAST), Clip("text_encoder_2", "tokenizer_2", _NEXT_TO_LAST))


def encode(checkpoint: Checkpoint, inputs: ConditioningInputs) -> Conditioning:
    """The texts and sizes of a request; see `Family`.

    An empty negative prompt is none: all zeros, as in the stock pipeline and in A1111, unless the model's index says
    otherwise. Raises TooCostly as `encode_texts` does.
    """
    texts = {"prompt": inputs.prompt, "negative_prompt": inputs.negative_prompt}
    if zeros := not inputs.negative_prompt and _zeros_for_empty(checkpoint):
        del texts["negative_prompt"]
    fits = fitting(checkpoint, [clip.encoder for clip in _CLIPS], inputs.embeddings)
    encoded = encode_texts(checkpoint, texts, _CLIPS, inputs.clip_skip, fits.embeddings)
    sizes = _sizes(checkpoint, inputs)
    more = {SIZES: sizes, **guidance_told(checkpoint, inputs.guidance_scale)}
    sides = {field: {**_text(checkpoint, *encodings), **more} for field, encodings in encoded.items()}
    positive = sides["prompt"]
    negative = _without_text(positive) if zeros else sides["negative_prompt"]
    return Conditioning(positive, negative, (*remarks(texts), *fits.remarks), fits.hashes)


def _zeros_for_empty(checkpoint: Checkpoint) -> bool:
    return bool(checkpoint.parts.pipeline_config.get("force_zeros_for_empty_prompt", True))


def _text(checkpoint: Checkpoint, first: Encoding, second: Encoding) -> dict[str, torch.Tensor]:
    hidden, pooled = second
    named = {TEXT: torch.cat([first[0], hidden], dim=-1), POOLED: pooled}
    return {name: tensor.to(checkpoint.denoiser_dtype) for name, tensor in named.items()}


def _without_text(side: NamedTensors) -> NamedTensors:
    return {**side, TEXT: torch.zeros_like(side[TEXT]), POOLED: torch.zeros_like(side[POOLED])}


def _sizes(checkpoint: Checkpoint, inputs: ConditioningInputs) -> torch.Tensor:
    """Original height and width, top and left of the crop, target height and width, in pixels.

    Float32 whatever the denoiser computes in, for 16 bits do not hold every number of pixels.
    """
    size = (inputs.height, inputs.width)
    told = (*(inputs.original_size or size), *inputs.crops_coords_top_left, *(inputs.target_size or size))
    return checkpoint.device.tensor([told]).float()


def control_arguments(conditioning: NamedTensors) -> dict[str, Any]:
    """See `Family`."""
    added = {POOLED: conditioning[POOLED], SIZES: conditioning[SIZES]}
    return {TEXT: conditioning[TEXT], "added_cond_kwargs": added}


def denoise(unet: Any, latents: torch.Tensor, timesteps: torch.Tensor, conditioning: NamedTensors) -> torch.Tensor:
    """See `Family`."""
    prediction: torch.Tensor = unet(
        with_channels(latents, conditioning),
        timesteps,
        timestep_cond=conditioning.get(GUIDANCE),
        encoder_hidden_states=conditioning[TEXT],
        added_cond_kwargs={POOLED: conditioning[POOLED], SIZES: conditioning[SIZES]},
        return_dict=False,
        **residuals_told(unet, latents, conditioning),
    )[0]
    return prediction


FAMILY = Family(
    encode=encode, denoise=denoise, to_latents=to_latents, to_pixels=to_pixels, control_arguments=control_arguments
)
