"""What all models of a family have in common, for those who do without torch; its behaviour is in `worker.families`."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class FamilyFacts:
    """Facts of one family.

    Latents are `(B, latent_channels, H / downsampling_factor, W / downsampling_factor)`. Both sides of an image are
    multiples of `size_step` pixels; `native_size` is that of a model whose entry states none, and `max_size` that of
    the largest square of a model whose entry states none.

    `addition_embed_type` is what the config of its denoiser says of inputs beside the text, None where there are none.
    `config` is the inference yaml of a family of which only folders are read, "" where the layout of single files says
    it.

    The others are folders of a model in the diffusers layout, each with the class that reads it: of diffusers for the
    denoiser, of transformers (or of a pipeline of diffusers) for text encoders and, in the same order, their
    tokenizers. A `vae` may be of one of several classes, which its config names; the first where it names none of them.
    """

    latent_channels: int
    downsampling_factor: int
    size_step: int
    native_size: int
    max_size: int
    addition_embed_type: str | None
    denoiser: tuple[str, str]
    text_encoders: Mapping[str, str]
    tokenizers: Mapping[str, str]
    vae: tuple[str, tuple[str, ...]] = ("vae", ("AutoencoderKL",))
    config: str = ""

    @property
    def masked_channels(self) -> int:
        """Channels of the input of a denoiser for inpainting: latents, mask, and the latents of what is left."""
        return 2 * self.latent_channels + 1


_SD1 = FamilyFacts(
    latent_channels=4,
    downsampling_factor=8,
    size_step=8,
    native_size=512,
    max_size=1024,
    addition_embed_type=None,
    denoiser=("unet", "UNet2DConditionModel"),
    text_encoders=MappingProxyType({"text_encoder": "CLIPTextModel"}),
    tokenizers=MappingProxyType({"tokenizer": "CLIPTokenizer"}),
)

_SDXL = FamilyFacts(
    latent_channels=4,
    downsampling_factor=8,
    size_step=8,
    native_size=1024,
    max_size=2048,
    addition_embed_type="text_time",
    denoiser=("unet", "UNet2DConditionModel"),
    text_encoders=MappingProxyType({
        "text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection",
    }),
    tokenizers=MappingProxyType({"tokenizer": "CLIPTokenizer", "tokenizer_2": "CLIPTokenizer"}),
)  # fmt: skip

_LDM = FamilyFacts(
    latent_channels=4,
    downsampling_factor=8,
    size_step=8,
    native_size=256,
    max_size=1024,
    addition_embed_type=None,
    denoiser=("unet", "UNet2DConditionModel"),
    text_encoders=MappingProxyType({"bert": "LDMBertModel"}),
    tokenizers=MappingProxyType({"tokenizer": "BertTokenizer"}),
    vae=("vqvae", ("AutoencoderKL", "VQModel")),
    config="txt2img-1p4B-eval.yaml",
)

FAMILY_FACTS: Mapping[str, FamilyFacts] = MappingProxyType({
    "sd1": _SD1,
    # the same parts, of other widths
    "sd2": _SD1,
    "sdxl": _SDXL,
    "ldm": _LDM,
})  # fmt: skip
