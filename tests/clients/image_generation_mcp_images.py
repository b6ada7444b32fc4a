"""image-generation-mcp, which asks A1111's API for sizes of its own and sends its key in the address."""

import asyncio

from a1111_checks import FULL_URL, KEY, PROMPT, URL, USER, interrupt_when_begun, png_size
from image_generation_mcp.providers.sd_webui import SdWebuiImageProvider
from image_generation_mcp.providers.types import ImageProviderError, InputImage

SIZES = {"1:1": (768, 768), "16:9": (912, 512)}


def provider(url: str = URL, key: str = KEY, model: str | None = None) -> SdWebuiImageProvider:
    return SdWebuiImageProvider(url.replace("http://", f"http://{USER}:{key}@"), model)


async def fails(made: SdWebuiImageProvider, word: str) -> None:
    text = "it did not fail"
    try:
        await made.generate(PROMPT)
    except ImageProviderError as error:
        text = str(error)
    assert word in text, text


async def work() -> None:
    made = provider()
    found = await made.discover_capabilities()
    assert not found.degraded
    assert "demo" in [model.model_id for model in found.models]
    heard: list[float] = []
    results = {
        shape: await made.generate(PROMPT, aspect_ratio=shape, progress_callback=lambda part, _: heard.append(part))
        for shape in SIZES
    }
    for shape, size in SIZES.items():
        assert png_size(results[shape].image_data) == size
        assert 0 <= results[shape].provider_metadata["seed"] < 2**32
        assert results[shape].provider_metadata["model"] == "demo"
    assert all(0 <= part <= 1 for part in heard)
    reference = InputImage(data=results["16:9"].image_data, content_type="image/png")
    redrawn = await provider(model="demo").generate(PROMPT, reference_images=[reference], strength=0.3)
    assert png_size(redrawn.image_data) == SIZES["1:1"]
    await fails(provider(key="wrong"), "401")
    await fails(provider(model="nothing"), "422")
    await fails(provider(url=FULL_URL), "429")
    interrupting = interrupt_when_begun()
    await fails(made, "422")
    interrupting.join()


asyncio.run(work())
