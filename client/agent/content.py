"""What an agent is given: images within the bounds that programs set for the answers of tools, and text."""

import base64
import io
from collections.abc import Iterator, Sequence

from mcp_types import CallToolResult, ContentBlock, ImageContent, TextContent
from PIL import Image

from client.bodies import opened
from client.wire import JobStatus

# programs refuse answers of tools over 1 MB, and base64 adds a third
MOST_BYTES = 700_000
_QUALITIES = (90, 75, 60)
_SHRINKINGS = (1, 2, 4, 8)
_KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def told(text: str, *images: ContentBlock, **facts: object) -> CallToolResult:
    """An answer for a person, and the same as JSON for a program."""
    return CallToolResult(content=[TextContent(type="text", text=text), *images], structured_content=facts)


def refused(sentence: str) -> CallToolResult:
    """The error of a tool."""
    return CallToolResult(content=[TextContent(type="text", text=sentence)], is_error=True)


def state_of(job: JobStatus) -> dict[str, object]:
    """The state of a job as JSON."""
    facts: dict[str, object] = {"job_id": job.id, "state": job.state, "status": job.sentence}
    if not job.ended:
        return facts | {"progress": job.progress, "position": job.position, "eta_s": job.eta_s}
    return facts | {
        "seeds": list(job.seeds),
        "images": list(job.images),
        "warnings": list(job.parameters.get("warnings", ())),
    }


def images_of(files: Sequence[tuple[str, bytes]], most_bytes: int = MOST_BYTES) -> Iterator[ImageContent]:
    """Images as content, all together within `most_bytes`: those that are too large become smaller JPEGs."""
    share = most_bytes // max(1, len(files))
    for name, data in files:
        with opened(name, data) as image:
            if len(data) <= share:
                yield _content(data, _KINDS[image.format or "PNG"])
            else:
                yield _content(_smaller(image, share), "image/jpeg")


def _content(data: bytes, kind: str) -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(data).decode(), mime_type=kind)


def _smaller(image: Image.Image, most_bytes: int) -> bytes:
    """A JPEG of at most `most_bytes`; where none is small enough, the smallest."""
    data = b""
    for factor in _SHRINKINGS:
        small = image.convert("RGB").reduce(factor)
        for quality in _QUALITIES:
            out = io.BytesIO()
            small.save(out, "JPEG", quality=quality)
            data = out.getvalue()
            if len(data) <= most_bytes:
                return data
    return data
