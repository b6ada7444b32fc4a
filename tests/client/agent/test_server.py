"""The agent server over a stand-in for the service, asked by the protocol's own client."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp_types import CallToolResult, ImageContent, TextContent
from PIL import Image

from client.agent import content
from client.agent.server import agent_server
from client.async_api import AsyncClient
from tests.client.stub import DONE, FAILED, KEY, WAITING, WORKING, Reply, Stub, png


@asynccontextmanager
async def agent(url: str, key: str | None = KEY, wait_s: float = 30.0) -> AsyncIterator[Client]:
    """A client of the agent server over the service at `url`."""
    async with AsyncClient(url, key, retry_s=0.05) as client, Client(agent_server(client, wait_s)) as asking:
        yield asking


def call(stub_url: str, tool: str, key: str | None = KEY, wait_s: float = 30.0, **arguments: Any) -> CallToolResult:
    """What one tool answers."""

    async def ask() -> CallToolResult:
        async with agent(stub_url, key, wait_s) as asking:
            return await asking.call_tool(tool, arguments)

    return asyncio.run(ask())


def text_of(result: CallToolResult) -> str:
    return "\n".join(each.text for each in result.content if isinstance(each, TextContent))


def images_of(result: CallToolResult) -> list[ImageContent]:
    return [each for each in result.content if isinstance(each, ImageContent)]


def test_an_agent_is_told_what_there_is(stub: Stub) -> None:
    """Given the server, when its tools are listed, then each has a description, and refuses what it does not know."""

    async def ask() -> list[Any]:
        async with agent(stub.url) as asking:
            return list((await asking.list_tools()).tools)

    tools = {tool.name: tool for tool in asyncio.run(ask())}
    assert list(tools) == ["generate_image", "edit_image", "list_models", "job_status", "cancel"]
    assert all(tool.description and tool.input_schema["additionalProperties"] is False for tool in tools.values())
    assert tools["generate_image"].input_schema["required"] == ["prompt"]
    assert set(tools["edit_image"].input_schema["required"]) == {"prompt", "image"}
    assert [name for name, tool in tools.items() if tool.annotations.read_only_hint] == ["list_models", "job_status"]


def test_images_come_as_images(stub: Stub) -> None:
    """Given a prompt and a count, when generate_image is called, then the service is asked for just that, and every
    image comes as image content beside a sentence with the job's id and the seeds."""
    result = call(
        stub.url, "generate_image", prompt="a cat", count=2, seed=7, steps=5, width=96, height=64, model="sd15",
        parameters={"ddim_eta": 0.5},
    )  # fmt: skip

    assert not result.is_error
    assert [image.mime_type for image in images_of(result)] == ["image/png"] * 2
    with Image.open(io.BytesIO(base64.b64decode(images_of(result)[0].data))) as image:
        assert image.size == (8, 8)
    assert text_of(result) == "Job job1 is done: 2 images, seed 7, 8."
    assert result.structured_content["seeds"] == [7, 8]
    asked = {name: value for name, value in stub.posts()[0].items() if value is not False}
    assert asked == {
        "prompt": "a cat", "n_samples": 2, "seed": 7, "ddim_steps": 5, "output_width": 96, "output_height": 64,
        "ckpt": "sd15", "ddim_eta": 0.5,
    }  # fmt: skip


def test_progress_is_told_while_it_waits(stub: Stub) -> None:
    """Given an agent that asks for progress, when its job waits and runs, then it is told place and step, each time
    more than the time before."""
    told: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async def ask() -> None:
        async with agent(stub.url) as asking:
            await asking.call_tool("generate_image", {"prompt": "a cat"}, progress_callback=note)

    stub.states = [WAITING, WAITING, WAITING | {"Position": 2}, WORKING, DONE]
    asyncio.run(ask())

    assert [message for _, _, message in told][-2:] == [
        "Waiting, number 2 in the queue, about 9 s left", "Step 7 of 20, about 4 s left",
    ]  # fmt: skip
    amounts = [progress for progress, _, _ in told]
    assert amounts == sorted(set(amounts))
    assert amounts[-1] == 0.35


@pytest.mark.parametrize("how", ["a path", "base64", "a data: address"])
def test_an_image_can_be_given_in_several_ways(stub: Stub, tmp_path: Path, how: str) -> None:
    """Given an image as a file's path, as base64 or as a data: address, when edit_image is called, then the service
    gets that image."""
    data = png("green")
    text = base64.b64encode(data).decode()
    (tmp_path / "start.png").write_bytes(data)
    given = {"a path": str(tmp_path / "start.png"), "base64": text, "a data: address": f"data:image/png;base64,{text}"}

    result = call(stub.url, "edit_image", prompt="a dog", image=given[how], strength=0.4)

    assert len(images_of(result)) == 1
    body = stub.posts()[0]
    assert (base64.b64decode(body["init_img"]), body["denoising_strength"]) == (data, 0.4)


@pytest.mark.parametrize("image", ["no-such-file.png", "0" * 5000, ""])
def test_what_is_no_image_is_refused(stub: Stub, image: str) -> None:
    """Given something that is no image, when edit_image is called, then the agent is told so, and nothing is sent."""
    result = call(stub.url, "edit_image", prompt="a dog", image=image)
    assert result.is_error
    assert "image" in text_of(result)
    assert stub.posts() == []


def test_who_would_wait_too_long_is_told_the_id(stub: Stub) -> None:
    """Given a job that takes long, when the time to wait is over, then its id is told; job_status has the rest."""
    stub.states = [WORKING]
    result = call(stub.url, "generate_image", wait_s=0.05, prompt="a cat")
    assert (result.is_error, result.structured_content["job_id"], images_of(result)) == (False, "job1", [])
    assert "Job job1 is not done yet" in text_of(result)

    stub.jobs["job1"].states.append(DONE)
    later = call(stub.url, "job_status", job_id="job1", wait_s=5)
    assert len(images_of(later)) == 1


def test_a_call_that_is_cancelled_cancels_its_job(stub: Stub) -> None:
    """Given an agent that gives up its call, when the job runs, then the job is cancelled."""
    stub.states = [WORKING]

    async def ask() -> None:
        async with agent(stub.url) as asking:
            with anyio.CancelScope() as scope:

                async def give_up(progress: float, total: float | None, message: str | None) -> None:
                    scope.cancel()

                await asking.call_tool("generate_image", {"prompt": "a cat"}, progress_callback=give_up)

    asyncio.run(ask())
    assert stub.jobs["job1"].cancelled


def test_cancel_and_models(stub: Stub) -> None:
    """Given a running job and the catalogue, when cancel and list_models are called, then they say what is."""
    stub.states = [WORKING]
    call(stub.url, "generate_image", wait_s=0.01, prompt="a cat")

    stopped = call(stub.url, "cancel", job_id="job1")
    assert (stopped.structured_content["state"], stub.jobs["job1"].cancelled) == ("REVOKED", True)

    told = call(stub.url, "list_models")
    assert text_of(told).splitlines() == [
        "Models:",
        "- demo: Model demo (128 px, at most 512x512, the default)",
        "- sd15: Model sd15 (128 px, at most 512x512, not here: No file.)",
        "Samplers: ddim",
    ]
    assert told.structured_content["default"] == "demo"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "prompt: Field required"),
        ({"prompt": "x", "stepz": 3}, "stepz: Extra inputs are not permitted"),
        ({"prompt": "x", "steps": "many"}, "steps: Input should be a valid integer"),
        ({"prompt": "x", "width": 64}, "give width and height, or none of them"),
        ({"prompt": "x", "steps": 3, "parameters": {"ddim_steps": 4}}, "'ddim_steps' has an argument of its own"),
        ({"prompt": "x", "parameters": {"synchronous_request": True}}, "'synchronous_request' is set by this server"),
    ],
)
def test_wrong_arguments_are_one_sentence(stub: Stub, arguments: dict[str, Any], words: str) -> None:
    """Given arguments that cannot be meant, when a tool is called, then it says what is wrong, and sends nothing."""
    result = call(stub.url, "generate_image", **arguments)
    assert result.is_error
    assert words in text_of(result)
    assert "\n" not in text_of(result)
    assert stub.posts() == []


def test_what_the_service_refuses_is_told_in_the_tool_s_words(stub: Stub) -> None:
    """Given a service that refuses fields, when a tool is called, then its sentence names the tool's arguments."""
    said = b'{"error": "See fields.", "code": "invalid_request", "fields": {"ckpt": ["No such."], "H": ["Odd."]}}'
    stub.replies["/generate"].append(Reply(400, said))
    result = call(stub.url, "generate_image", prompt="x", model="nope")
    assert result.is_error
    assert text_of(result) == "The service refuses the request: model: No such. H: Odd."


def test_faults_are_one_sentence(stub: Stub) -> None:
    """Given a wrong key, a service that is away, an unknown job, a job that fails, and an unknown tool, when a tool is
    called, then its error is one sentence that says so."""
    stub.states = [FAILED]
    results = {
        "The key is wrong.": call(stub.url, "generate_image", key="wrong", prompt="x"),
        "No service answers at http://127.0.0.1:1": call("http://127.0.0.1:1", "list_models"),
        "There is no such job.": call(stub.url, "job_status", job_id="nobody"),
        "The device cannot hold it.": call(stub.url, "generate_image", prompt="x"),
        "There is no tool 'paint'": call(stub.url, "paint"),
    }
    for words, result in results.items():
        assert result.is_error, words
        assert words in text_of(result)
        assert "\n" not in text_of(result)


def test_large_images_become_small_enough() -> None:
    """Given images that are larger together than programs take, when they are made content, then they fit, as JPEG."""
    noise = Image.effect_noise((512, 512), 100).convert("RGB")
    out = io.BytesIO()
    noise.save(out, "PNG")
    small = png("red")

    made = list(content.images_of([("a.png", out.getvalue()), ("b.png", small)], most_bytes=60_000))

    assert [each.mime_type for each in made] == ["image/jpeg", "image/png"]
    assert len(base64.b64decode(made[0].data)) <= 30_000
    assert base64.b64decode(made[1].data) == small
