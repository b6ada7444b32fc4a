"""LlamaIndex's tool for OpenAI's images, which knows the names and sizes of DALL-E alone."""

import os
import tempfile
from pathlib import Path

import openai
from llama_index.tools.openai.image_generation.base import OpenAIImageGenerationToolSpec

URL, FULL_URL, KEY = os.environ["SERVICE_URL"], os.environ["FULL_SERVICE_URL"], os.environ["SERVICE_KEY"]
PROMPT = "a red circle on a blue background"


def draw(url: str = URL, key: str = KEY, folder: str | None = None, prompt: str = PROMPT) -> str:
    os.environ["OPENAI_BASE_URL"] = f"{url}/v1"
    tool = OpenAIImageGenerationToolSpec(api_key=key, cache_dir=folder)
    made = tool.image_generation(prompt, model="dall-e-2", size="256x256", download=folder is not None)
    return str(made[0] if folder else made)


def fails(kind: type[Exception], **options: str) -> None:
    try:
        draw(**options)
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


link = draw()
assert link.startswith(f"{URL}/images/"), link
assert link.endswith(".png"), link
with tempfile.TemporaryDirectory() as folder:
    kept = Path(draw(folder=folder))
    data = kept.read_bytes()
assert kept.suffix == ".png", "the tool knows the format by the first letter of the base64"
assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (256, 256)
fails(openai.AuthenticationError, key="wrong")
fails(openai.BadRequestError, prompt="")
fails(openai.RateLimitError, url=FULL_URL)
