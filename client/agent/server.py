"""The Model Context Protocol server that programs with agents start: tools over stdio."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    Tool,
    ToolAnnotations,
)
from pydantic import ValidationError

from client.agent.arguments import (
    Arguments,
    EditArguments,
    GenerateArguments,
    JobArguments,
    NoArguments,
    StatusArguments,
    objection,
    objection_of_service,
)
from client.agent.content import refused
from client.agent.tools import Tools
from client.async_api import AsyncClient
from client.errors import ClientError, Refused
from shared.version import VERSION

_INSTRUCTIONS = (
    "Generates images on a Personal Diffusion server. generate_image and edit_image answer with the images. Where that "
    "takes long, they answer with a job's id: ask job_status for it. edit_image takes the id of a job as its image."
)
_MAKES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
_LOOKS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_STOPS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


@dataclass(frozen=True)
class _Entry:
    """One tool: what it takes, what it does, and what it is to a program that asks before it lets an agent act."""

    arguments: type[Arguments]
    act: Callable[..., Awaitable[CallToolResult]]
    annotations: ToolAnnotations

    def tool(self) -> Tool:
        return Tool(
            name=self.act.__name__,
            description=self.act.__doc__,
            input_schema=self.arguments.model_json_schema(),
            annotations=self.annotations,
        )


def agent_server(client: AsyncClient, wait_s: float) -> Server[Any]:
    """A server whose tools are the jobs of a service; `wait_s` is how long an agent is kept waiting, in seconds."""
    tools = Tools(client, wait_s)
    entries = (
        _Entry(GenerateArguments, tools.generate_image, _MAKES),
        _Entry(EditArguments, tools.edit_image, _MAKES),
        _Entry(NoArguments, tools.list_models, _LOOKS),
        _Entry(StatusArguments, tools.job_status, _LOOKS),
        _Entry(JobArguments, tools.cancel, _STOPS),
    )
    by_name = {entry.act.__name__: entry for entry in entries}

    async def list_tools(context: ServerRequestContext[Any], page: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[entry.tool() for entry in entries])

    async def call_tool(context: ServerRequestContext[Any], call: CallToolRequestParams) -> CallToolResult:
        entry = by_name.get(call.name)
        if entry is None:
            return refused(f"There is no tool '{call.name}'; there are: {', '.join(by_name)}.")
        try:
            given = entry.arguments.model_validate(call.arguments or {})
            return await entry.act(given, context.session.report_progress)
        except ValidationError as wrong:
            return refused(objection(wrong))
        except Refused as refusal:
            return refused(objection_of_service(refusal))
        except (ClientError, TypeError) as wrong:
            return refused(str(wrong))

    return Server(
        "personal-diffusion", title="Personal Diffusion", version=VERSION, instructions=_INSTRUCTIONS,
        on_list_tools=list_tools, on_call_tool=call_tool,
    )  # fmt: skip


async def serve_stdio(url: str, key: str | None, wait_s: float) -> None:
    """Serve one program over stdin and stdout until it goes away. Raises BadAnswer where `url` is no address."""
    async with AsyncClient(url, key) as client, stdio_server() as (read, write):
        server = agent_server(client, wait_s)
        await server.run(read, write, server.create_initialization_options())
