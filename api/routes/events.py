"""GET /events/<task_id>: what happens to a job, as it happens."""

from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus

from flask import Response, request
from flask_smorest import Blueprint

from api.document import JOB_ID, KEY_IF_PRIVATE, READING, refusals
from api.http.streams import KEEP_ALIVE, event_stream, event_text
from api.routes.visible import visible_job
from api.services import Services
from api.submission.following import END, Events
from shared.errors import InvalidRequest, TooManyWaiting
from shared.jobs.events import FIRST_ID
from shared.request.intake import load_query
from shared.request.queries import EventsQuery

_PARAMETERS = [
    {
        "in": "query", "name": "previews", "schema": {"type": "boolean"}, "example": True,
        "description": "Also tell what the job is becoming: small JPEGs in base64",
    },
    {
        "in": "header", "name": "Last-Event-ID", "schema": {"type": "string"}, "example": FIRST_ID,
        "description": "The id of the last event that the client has: those after it follow",
    },
]  # fmt: skip
_STREAM = {
    "description": "Server-sent events `queued`, `progress`, `preview`, and at last `done`, `failed` or `cancelled`; "
    "the data of each is JSON",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_ALL_THERE = {"description": "The client has the last event"}


def events_blueprint(services: Services) -> Blueprint:
    """The blueprint over these services."""
    blp = Blueprint("events", __name__, description="What happens to a job, as it happens")
    query_schema = EventsQuery()
    _ = services.events  # one for all requests, however many come at once

    @blp.route("/events/<job_id>", parameters=[JOB_ID])
    @blp.doc(
        security=KEY_IF_PRIVATE,
        parameters=_PARAMETERS,
        responses=refusals(InvalidRequest, *READING, TooManyWaiting) | {"200": _STREAM, "204": _ALL_THERE},
    )
    def events(job_id: str) -> Response:
        """The events of a job, until its end."""
        query = load_query(query_schema, request.args)
        job = visible_job(services, request, job_id)
        last = request.headers.get("Last-Event-ID")
        if last == END and job.state.final:
            return Response(status=HTTPStatus.NO_CONTENT)  # so that a browser does not come again
        with ExitStack() as held:
            held.enter_context(services.listening_places.take())
            told = Events(services, job_id, previews=query["previews"], after=last)
            told.also_close(held.pop_all())
        return event_stream(_Lines(told))

    return blp


class _Lines:
    """The events as texts."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def __iter__(self) -> Iterator[str]:
        for told in self._events:
            yield event_text(told.kind, told.data, told.id) if told else KEEP_ALIVE

    def close(self) -> None:
        self._events.close()
