"""What a client is given of a job's result: JSON, an image, a part of one, or all of it as a zip."""

from http import HTTPStatus

from flask import Request, Response, jsonify
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from api.responses.archive import archive
from api.responses.thumbnails import Thumbnails
from shared.jobs.records import Job
from shared.jobs.result_stream import result_stream
from shared.jobs.status import main_image
from shared.storage.results import ResultStore, StoredFile

MIME_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
IMAGE_CONTENT = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MIME_TYPES.values()}
"""What the API document says of an answer that is an image."""
_YEAR_S = 365 * 24 * 3600


def finished_answer(job: Job, results: ResultStore) -> Response:
    """The result of a successful job, in the form that its request asked for; JSON is sent as it is made.

    Raises ResultMissing.
    """
    if job.request.return_base64:
        stream = result_stream(job, results, lambda answer: jsonify(answer).get_data())
        response = Response(iter(stream), mimetype="application/json")
        response.content_length = stream.length
        return response
    name = main_image(job)
    response = Response(results.read(job.folder, name), mimetype=MIME_TYPES[job.request.format])
    response.headers["Content-Disposition"] = f'inline; filename="{name}"'
    response.headers["X-Task-Id"] = job.id
    response.headers["X-Seed"] = str(job.images[0].seed)
    return response


def image_answer(job: Job, name: str, results: ResultStore, request: Request) -> Response:
    """One stored image, or the part that was asked for, or 304 where the client has it.

    A range is read alone, and nothing for a 304. Raises ResultMissing, and RequestedRangeNotSatisfiable (416).
    """
    file = results.look_at(job.folder, name)
    response = _unchanging(file.tag, MIME_TYPES[job.request.format], request)
    response.accept_ranges = "bytes"
    if response.status_code == HTTPStatus.NOT_MODIFIED:
        return response
    part = _part(request, file)
    if part:
        start, stop = part
        response.status_code = HTTPStatus.PARTIAL_CONTENT
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
        response.data = results.read(job.folder, name, start, stop)
    else:
        response.data = results.read(job.folder, name)
    return response


def thumbnail_answer(
    job: Job, name: str, width: int, results: ResultStore, thumbnails: Thumbnails, request: Request
) -> Response:
    """One stored image, at most `width` pixels wide, as WebP; one that cannot be made smaller is answered as it is.

    Raises ResultMissing, and ServiceUnavailable while too many are being made.
    """
    file = results.look_at(job.folder, name)
    response = _unchanging(f"{file.tag}-{width}", MIME_TYPES["webp"], request)
    if response.status_code == HTTPStatus.NOT_MODIFIED:
        return response
    try:
        response.data = thumbnails.get(job, name, width, file, results)
    except ValueError:
        return image_answer(job, name, results, request)
    return response


def archive_answer(job: Job, results: ResultStore) -> Response:
    """All of a job that has ended as a zip, sent as it is made. Raises NotFinished, NotFound and ResultMissing."""
    response = Response(archive(job, results), mimetype="application/zip")
    response.headers["Content-Disposition"] = f'attachment; filename="{job.id}.zip"'
    response.cache_control.private = True
    return response


def _unchanging(tag: str, mime_type: str, request: Request) -> Response:
    """An answer without its bytes yet, or 304 where the client has them."""
    response = Response(mimetype=mime_type)
    response.set_etag(tag)
    # an image never changes; but whoever has its address may see it, so that no proxy may keep it for others
    response.cache_control.private = True
    response.cache_control.max_age = _YEAR_S
    response.cache_control.immutable = True
    if request.if_none_match.contains_weak(tag):
        response.status_code = HTTPStatus.NOT_MODIFIED
    return response


def _part(request: Request, file: StoredFile) -> tuple[int, int] | None:
    """(start, stop) of the one range that was asked for; None for the whole, as also for several ranges at once."""
    asked = request.range
    if request.method != "GET" or asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    if "If-Range" in request.headers and request.if_range.etag != file.tag:
        return None
    part = asked.range_for_length(file.size)
    if part is None:
        raise RequestedRangeNotSatisfiable(file.size, "bytes", f"The image has {file.size} bytes.")
    return part
