"""sd-api-mcp, which offers A1111's API to agents: its tools, called as an agent calls them."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from a1111_checks import FULL_URL, KEY, PROMPT, URL, USER, interrupt_when_begun, png_size
from fastmcp import Client
from fastmcp.exceptions import ToolError
from sd_api_mcp.server import mcp

# its server reads the environment when it starts
os.environ |= {"SD_WEBUI_URL": URL, "SD_AUTH_USER": USER, "SD_AUTH_PASS": KEY}
FOLDER = tempfile.mkdtemp()
FEW = {"prompt": PROMPT, "width": 128, "height": 128, "steps": 4, "seed": 7, "output_dir": FOLDER}


async def fails(client: Client[Any], tool: str, asked: dict[str, Any], word: str) -> None:
    text = "it did not fail"
    try:
        await client.call_tool(tool, asked)
    except ToolError as error:
        text = str(error)
    assert word in text, text


async def images(client: Client[Any], tool: str, asked: dict[str, Any]) -> list[Path]:
    return [Path(path) for path in (await client.call_tool(tool, asked)).data]


async def work() -> None:
    async with Client(mcp) as client:
        assert "demo" in (await client.call_tool("get_sd_models")).data
        assert (await client.call_tool("get_sd_upscalers")).data == ["None", "Lanczos", "Nearest"]
        await client.call_tool("set_sd_model", {"model_name": "demo"})
        await fails(client, "set_sd_model", {"model_name": "nothing"}, "422")
        first, second = await images(client, "txt2img", FEW | {"batch_size": 2, "scheduler_name": "Karras",
                                                              "sampler_name": "DPM++ 2M"})  # fmt: skip
        assert png_size(first.read_bytes()) == (128, 128)
        assert first.read_bytes() != second.read_bytes()
        (again,) = await images(client, "txt2img", FEW | {"scheduler_name": "Karras", "sampler_name": "DPM++ 2M"})
        assert again.read_bytes() == first.read_bytes()
        (redrawn,) = await images(client, "img2img", FEW | {"init_image": str(first), "denoising_strength": 0.5})
        assert png_size(redrawn.read_bytes()) == (128, 128)
        larger = {"images": [str(first)], "upscaling_resize": 2, "output_dir": FOLDER}
        (large,) = await images(client, "upscale_images", larger | {"upscaler_1": "Lanczos"})
        assert png_size(large.read_bytes()) == (256, 256)
        await fails(client, "upscale_images", larger, "422")
        (part,) = await images(client, "img2img", FEW | {"init_image": str(first), "mask": str(first)})
        assert png_size(part.read_bytes()) == (128, 128)
        await fails(client, "txt2img", FEW | {"sampler_name": "UniPC"}, "404")
        assert "demo-outline" in str(await client.call_tool("get_controlnet_models"))
        (wide,) = await images(client, "txt2img", FEW | {"width": 1024, "height": 512, "steps": 1})
        assert png_size(wide.read_bytes()) == (1024, 512)
        interrupting = interrupt_when_begun()
        await fails(client, "txt2img", FEW | {"width": 512, "height": 512, "steps": 150}, "422")
        interrupting.join()
    for changed, word in (({"SD_AUTH_PASS": "wrong"}, "401"), ({"SD_WEBUI_URL": FULL_URL}, "429")):
        kept = dict(os.environ)
        os.environ.update(changed)
        async with Client(mcp) as client:
            await fails(client, "txt2img", FEW, word)
        os.environ.update(kept)


asyncio.run(work())
