"""What the operator allows a request."""

from dataclasses import dataclass, replace
from pathlib import Path

from shared.callback_hosts import NO_HOSTS, CallbackHosts
from shared.catalogue.models import Catalogue, Model
from shared.request.input_image import DecodeImage, decode_image, decode_mask


@dataclass(frozen=True)
class Limits:
    """Models, the folder of prompt files, the largest request, and whom to call back.

    `decode_image` reads the images that clients send, `decode_mask` their masks. `max_pixels` is the most that an image
    is drawn with, 0: what is usual for its model.
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
    max_pixels: int = 0

    def model(self, name: str) -> Model | None:
        """The model of that name, alias or hash, with the sizes that are allowed here; None without one."""
        found = self.catalogue.find(name)
        return replace(found, allowed_pixels=self.max_pixels) if found and self.max_pixels else found
