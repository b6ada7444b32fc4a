"""What happens to a job, as this client tells it: read off server-sent events, or off the job's state."""

import base64
import binascii
import json
from dataclasses import dataclass

from client.wire import Event, JobStatus


@dataclass(frozen=True)
class Told:
    """One server-sent event."""

    id: str
    kind: str
    data: str


def event_of(known: JobStatus) -> Event:
    """The state of a job as an event."""
    kinds = {"PENDING": "queued", "PROGRESS": "progress", "SUCCESS": "done", "FAILURE": "failed"}
    return Event(
        kinds.get(known.state, "cancelled"), known.position, known.eta_s, known.step, known.steps, known.progress,
        known.sentence,
    )  # fmt: skip


def event_told(told: Told) -> Event | None:
    """What a server-sent event says; None for a kind that is newer than this client, or that cannot be read."""
    try:
        data = json.loads(told.data)
        match told.kind:
            case "queued":
                return Event("queued", data["Position"], data["ETA"])
            case "progress":
                step, steps = data["Step"], data["Steps"]
                return Event("progress", None, data["ETA"], step, steps, data["Progress"])
            case "preview":
                return Event("preview", preview=decoded(data["Image"]))
            case "done" | "failed" | "cancelled":
                return Event(told.kind)
    except (ValueError, KeyError, TypeError):
        pass
    return None


def decoded(text: str) -> bytes | None:
    """The bytes of base64 text; None where it is none."""
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return None
