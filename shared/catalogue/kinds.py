"""The table of what files of weights can be: by marks in the names of their tensors."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

CHECKPOINT, DENOISER = "checkpoint", "denoiser"
LORA, VAE, TINY_VAE, EMBEDDING, CONTROLNET, UPSCALER, TEXT_ENCODER = (
    "lora", "vae", "tiny-vae", "embedding", "controlnet", "upscaler", "text-encoder",
)  # fmt: skip
T2I_ADAPTER, IP_ADAPTER = "t2i-adapter", "ip-adapter"
OTHER = "other"

FAMILY_NAMES: Mapping[str, str] = MappingProxyType({
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "Stable Diffusion XL",
    "sdxl-refiner": "Stable Diffusion XL refiner",
    "sd3": "Stable Diffusion 3",
    "flux": "Flux",
    "chroma": "Chroma",
    "auraflow": "AuraFlow",
    "pixart": "PixArt",
    "lumina": "Lumina or Z-Image",
    "qwen-image": "Qwen-Image",
    "hidream": "HiDream",
    "wan": "Wan (video)",
    "cascade": "Stable Cascade",
    "ldm": "latent-diffusion text-to-image",
})  # fmt: skip
"""What people call the families, those that cannot be drawn here among them."""


@dataclass(frozen=True)
class Rule:
    """A file is of this kind when each of `marks` is in a name of its tensors, and none has `never`.

    `sentence` completes one that begins with the file's name. `family` is "" where the marks do not tell.
    """

    kind: str
    family: str
    marks: tuple[str, ...]
    sentence: str
    never: str = ""


def _family(family: str, *marks: str) -> Rule:
    return Rule(CHECKPOINT, family, marks, f"is a {FAMILY_NAMES[family]} model")


FIRST = "model.diffusion_model.input_blocks.0.0.weight"
"""The first weight of a UNet in the original layout."""
_FIRST = rf"^{re.escape(FIRST)}$"
RULES: Sequence[Rule] = (
    # whole models: before all others, for a stray tensor of another kind does no harm in them
    _family("sdxl-refiner", r"^conditioner\.embedders\.0\.model\.", _FIRST),
    _family("sdxl", r"^conditioner\.embedders\."),
    _family("ldm", r"^cond_stage_model\.transformer\.(token_emb|attn_layers)\.", _FIRST),
    _family("sd2", r"^cond_stage_model\.model\.", _FIRST),
    _family("sd1", r"^cond_stage_model\.transformer\.", _FIRST),
    # changes to other models: some carry names of the models that they change
    Rule(LORA, "",
         (r"^(lora_|lycoris_)|\.(lora_|hada_|lokr_|oft_blocks)|lora_[AB]\b|[._]lora\.(down|up)\.|\.dora_scale",),
         "is a LoRA, a change to another model"),
    Rule(OTHER, "", (r"^lora_controlnet$",), "is a Control-LoRA, a ControlNet as changes to a model"),
    Rule(OTHER, "", (r"^lllite_unet",), "is a ControlNet-LLLite"),
    Rule(OTHER, "", (r"^control_add_embedding\.|^task_embedding$",), "is a ControlNet-Union"),
    Rule(CONTROLNET, "", (r"^control_model\.|^controlnet_|^input_hint_block|^zero_convs\.",), "is a ControlNet"),
    Rule(T2I_ADAPTER, "", (r"^adapter\.body\.|^(module\.)?body\.\d+\.block1\.",), "is a T2I-Adapter"),
    Rule(OTHER, "", (r"\bmotion_modules\.",), "is a motion module"),
    Rule(IP_ADAPTER, "", (r"^ip_adapter\.|^image_proj\.",), "is an IP-Adapter"),
    # other families
    _family("sd3", r"\bjoint_blocks\."),
    _family("chroma", r"\bdistilled_guidance_layer\."),
    _family("flux", r"\bdouble_blocks\."),
    _family("auraflow", r"\bdouble_layers\."),
    _family("lumina", r"\bcap_embedder\."),
    _family("hidream", r"\bdouble_stream_blocks\."),
    _family("qwen-image", r"\btransformer_blocks\.0\.txt_mlp\."),
    _family("wan", r"\bblocks\.0\.cross_attn\.norm_q\."),
    _family("pixart", r"\badaln_single\.|\bt_block\.1\.", r"\by_embedder\.|\bcaption_projection\."),
    _family("cascade", r"\bclip_txt_mapper\.|\bclip_txt_pooled_mapper\."),
    # parts
    Rule(DENOISER, "", (_FIRST,), "is a UNet without the other parts"),
    Rule(DENOISER, "", (r"^input_blocks\.0\.0\.weight$",), "is a UNet without the other parts"),
    Rule(OTHER, "", (r"^(down_blocks|up_blocks|mid_block)\.",),
         "is the UNet of a diffusers folder without the other parts"),
    Rule(EMBEDDING, "", (r"^(string_to_param|emb_params|clip_[lg]$|text_encoders_[01]$)",),
         "is a textual inversion embedding"),
    Rule(VAE, "", (r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|mid)\b",), "is a VAE without the other parts"),
    Rule(TINY_VAE, "", (r"^(encoder|decoder)\.layers\.\d+\.|^taesd|^\d\.weight$",),
         "is a tiny VAE without the other parts", never=r"^text_model|self_attn"),
    Rule(TEXT_ENCODER, "", (r"^(transformer\.)?(text_model\.|resblocks\.|encoder\.block\.)|^text_projection",),
         "is a text encoder without the other parts"),
    Rule(UPSCALER, "",
         (r"^(params(_ema)?\.)?(model\.0\.weight|model\.1\.sub\.|conv_first\.|body\.0\.|layers\.0\.residual)",),
         "enlarges images and draws none"),
)  # fmt: skip
"""The first that fits counts."""


def rule_for(names: Sequence[str]) -> Rule | None:
    """What the file is that has tensors of these names; None when no rule fits."""
    text = "\n".join(names)

    def has(mark: str) -> bool:
        return re.search(mark, text, re.MULTILINE) is not None

    return next((rule for rule in RULES if all(map(has, rule.marks)) and not (rule.never and has(rule.never))), None)
