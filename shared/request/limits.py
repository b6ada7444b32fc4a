"""What the operator allows a request."""

from dataclasses import dataclass
from pathlib import Path

from shared.callback_hosts import NO_HOSTS, CallbackHosts
from shared.catalogue.models import Catalogue
from shared.request.input_image import DecodeImage, decode_image, decode_mask


@dataclass(frozen=True)
class Limits:
    """Models, the folder of prompt files, the largest request, and whom to call back.

    `decode_image` reads the images that clients send, `decode_mask` their masks.
    """

    catalogue: Catalogue
    prompts_dir: Path
    max_input_pixels: int
    max_prompt_chars: int
    max_images: int
    max_cost: int
    callback_hosts: CallbackHosts = NO_HOSTS
    decode_image: DecodeImage = decode_image
    decode_mask: DecodeImage = decode_mask
