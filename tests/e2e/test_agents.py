"""`python -m client mcp` as programs with agents start it: over stdio, against the real service."""

import asyncio
import base64
import io
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, ImageContent, TextContent
from PIL import Image

from shared.settings import DUMMY_API_KEY
from tests.e2e.service import REPOSITORY, Service


@asynccontextmanager
async def agent(service: Service, key: str = DUMMY_API_KEY) -> AsyncIterator[Client]:
    """The protocol's own client, which starts the agent server as a program of its own."""
    program = StdioServerParameters(
        command=sys.executable, args=["-m", "client", "mcp"], cwd=REPOSITORY,
        env={"PDIFF_SERVER": service.url, "PDIFF_KEY": key, "XDG_CONFIG_HOME": str(service.folder)},
    )  # fmt: skip
    async with Client(program) as client:
        yield client


def text_of(result: CallToolResult) -> str:
    return "\n".join(each.text for each in result.content if isinstance(each, TextContent))


def image_of(result: CallToolResult) -> Image.Image:
    found = [each for each in result.content if isinstance(each, ImageContent)]
    assert len(found) == 1, text_of(result)
    image = Image.open(io.BytesIO(base64.b64decode(found[0].data)))
    image.load()
    return image


def test_an_agent_draws_edits_and_looks(service: Service) -> None:
    """Given the agent server and a running service, when an agent generates an image, edits it by its job's id, and
    looks around, then it gets images of the size and seed that it asked for, and is told of progress meanwhile."""
    amounts: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        amounts.append(progress)

    async def use() -> dict[str, Any]:
        async with agent(service) as client:
            wanted = {
                "prompt": "a red circle on a white background",
                "seed": 11,
                "steps": 12,
                "width": 96,
                "height": 64,
            }
            drawn = await client.call_tool("generate_image", wanted, progress_callback=note)
            job_id = drawn.structured_content["job_id"]
            edit = {"prompt": "a blue circle on a white background", "image": job_id, "strength": 0.5, "seed": 12}
            return {
                "drawn": drawn,
                "edited": await client.call_tool("edit_image", edit),
                "models": await client.call_tool("list_models"),
                "state": await client.call_tool("job_status", {"job_id": job_id}),
                "stopped": await client.call_tool("cancel", {"job_id": job_id}),
            }

    told = asyncio.run(use())

    assert not any(result.is_error for result in told.values()), {name: text_of(each) for name, each in told.items()}
    drawn = image_of(told["drawn"])
    assert drawn.size == (96, 64)
    assert told["drawn"].structured_content["seeds"] == [11]
    assert "Steps: 12, " in drawn.info["parameters"]
    red, green, blue = drawn.convert("RGB").getpixel((48, 32))  # type: ignore[misc]  # three bands
    assert red > max(green, blue) + 50
    assert told["edited"].structured_content["seeds"] == [12]
    assert image_of(told["edited"]).info["parameters"].startswith("a blue circle")
    assert "- demo: " in text_of(told["models"])
    assert image_of(told["state"]).info == drawn.info
    assert told["stopped"].structured_content["state"] == "SUCCESS"
    assert amounts
    assert amounts == sorted(set(amounts))


def test_an_agent_is_told_what_is_wrong(service: Service) -> None:
    """Given a wrong key, when tools are called, then each error is one sentence: the key; and with the right one, that
    there is no such model, and no such job."""

    async def use() -> list[CallToolResult]:
        async with agent(service, "not-the-key") as client:
            wrong_key = await client.call_tool("generate_image", {"prompt": "x"})
        async with agent(service) as client:
            no_model = await client.call_tool("generate_image", {"prompt": "x", "model": "no-such-model"})
            return [wrong_key, no_model, await client.call_tool("cancel", {"job_id": "0" * 32})]

    results = asyncio.run(use())

    assert all(result.is_error for result in results)
    words = ["This key is not accepted.", "model: Must be the name of a model", "There is no job with this id."]
    for result, expected in zip(results, words, strict=True):
        assert expected in text_of(result)
        assert "\n" not in text_of(result)
