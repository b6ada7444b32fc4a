"""LlamaIndex's tool for OpenAI's images, which knows the names of DALL-E alone."""

import os
import tempfile
from pathlib import Path

import openai
from llama_index.tools.openai.image_generation import OpenAIImageGenerationToolSpec

URL, KEY = os.environ["SERVICE_URL"], os.environ["SERVICE_KEY"]
os.environ["OPENAI_BASE_URL"] = f"{URL}/v1"
PROMPT = "a red circle on a blue background"

tool = OpenAIImageGenerationToolSpec(api_key=KEY)
link = tool.image_generation(PROMPT, size="256x256", num_images=1)
assert link.startswith(URL), link
assert link.endswith(".png"), link
with tempfile.TemporaryDirectory() as folder:
    kept = OpenAIImageGenerationToolSpec(api_key=KEY, image_cache=folder).image_generation(PROMPT, size="256x256")
    data = Path(kept).read_bytes()
assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (256, 256)
try:
    OpenAIImageGenerationToolSpec(api_key="wrong").image_generation(PROMPT)
except openai.AuthenticationError:
    pass
else:
    raise AssertionError("a wrong key was taken")
