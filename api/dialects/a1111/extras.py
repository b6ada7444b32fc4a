"""A1111's extras: images that are made larger or smaller, and nothing is drawn."""

import base64
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from flask import Request

from api.http.auth import Caller
from api.services import Services
from api.submission.submit import renamed, submit
from api.submission.waiting import wait_for_end
from shared.catalogue.upscalers import find_upscaler
from shared.errors import InvalidRequest, JobCancelled, ServiceError, StillWorking
from shared.jobs.records import State
from shared.jobs.status import status_link
from shared.request.input_image import InputImage, image_bytes
from shared.request.resizing import Filter, Resizing
from shared.request.upscaling import UpscaleSchema, load_upscale

UPSCALERS: Mapping[str, Filter | None] = {"None": None, "Lanczos": "lanczos", "Nearest": "nearest"}
"""A1111's names of the ways to resize; None leaves an image as it is."""
_BY_FACTOR, _TO_SIZE = 0, 1
_DEFAULT_FACTOR, _DEFAULT_SIDE = 2, 512
_RESTORERS = ("gfpgan_visibility", "codeformer_visibility")


def single_image(services: Services, body: Mapping[str, Any]) -> dict[str, Any]:
    """What `POST extra-single-image` answers. Raises InvalidRequest, ServiceUnavailable."""
    resizing = _resizing(body)
    image = _resized(services, "image", body.get("image"), resizing, services.settings.max_input_pixels)
    return {"html_info": _told(resizing), "image": base64.b64encode(image.png).decode()}


def batch_images(services: Services, body: Mapping[str, Any]) -> dict[str, Any]:
    """What `POST extra-batch-images` answers; all results together have as many pixels as one image may have.

    Raises likewise.
    """
    resizing = _resizing(body)
    left, images = services.settings.max_input_pixels, []
    for field, text in listed_images(services, body).items():
        image = _resized(services, field, text, resizing, left)
        left -= image.width * image.height
        images.append(base64.b64encode(image.png).decode())
    return {"html_info": _told(resizing), "images": images}


def network_of(services: Services, body: Mapping[str, Any]) -> str | None:
    """The network that the body asks for by `upscaler_1`, by its name; None for a filter. Raises InvalidRequest."""
    name = body.get("upscaler_1")
    if not isinstance(name, str) or name.casefold() in {each.casefold() for each in UPSCALERS}:
        return None
    upscaler = find_upscaler(services.catalogue, name)
    if upscaler is None or upscaler.file is None:
        return None
    _resizing({**body, "upscaler_1": "Lanczos"})  # all else has to be in order
    return upscaler.name


def images_by_network(
    services: Services, http_request: Request, caller: Caller, name: str, texts: Mapping[str, Any]
) -> Callable[[], list[str]]:
    """Queue a job for each of the images in `texts`, by the names of their fields; gives what waits for them.

    Where a size is asked for, the network makes an image cover it, and what is too much is cut off here. What waits
    gives the images as base64; it is to be called when the body is not held any more, and raises what the jobs ended
    with, and StillWorking. Raises TooManyWaiting, and what reading and submitting a job raise.
    """
    resizing = _resizing({**caller.body, "upscaler_1": "Lanczos"})
    schema, held, jobs = UpscaleSchema(services.limits), ExitStack(), []
    try:
        held.enter_context(services.waiting_places.take())
        for field, text in texts.items():
            try:
                factor = resizing.factor or _covering(services, field, text, resizing)
                asked = {"image": text, "upscaler": name, "factor": factor, "skip_save": True}
                wanted, images = load_upscale(schema, asked)
                jobs.append(submit(services, wanted, images, caller.owner)[0])
            except ServiceError as error:
                by = "upscaling_resize" if resizing.factor else "upscaling_resize_w"
                theirs = {"image": field, "factor": by, "upscaler": "upscaler_1"}
                raise renamed(error, theirs) from None
    except BaseException:
        held.close()
        for job_id in jobs:
            services.jobs.cancel(job_id)
        raise

    def wait() -> list[str]:
        with held:
            found = (_image_of(services, job_id, http_request) for job_id in jobs)
            return [base64.b64encode(_fitted(services, image, resizing)).decode() for image in found]

    return wait


def _covering(services: Services, field: str, text: Any, resizing: Resizing) -> float:
    """How many times as large an image must become to cover the size that is asked for, at least once."""
    if not isinstance(text, str):
        raise _invalid(field, "Must be an image as base64 text.")
    try:
        image = services.decode_image(image_bytes(text), services.settings.max_input_pixels)
    except ValueError as wrong:
        raise _invalid(field, str(wrong)) from None
    factor = max(1.0, resizing.width / image.width, resizing.height / image.height)
    # what covers it is cut here
    if factor**2 * image.width * image.height > services.settings.max_input_pixels:
        most = services.settings.max_input_pixels
        raise _invalid("upscaling_resize_w", f"To cover that size takes more than {most} pixels; ask for less.")
    return factor


def _fitted(services: Services, image: bytes, resizing: Resizing) -> bytes:
    """What a network made of an image, at the size that is asked for, if one is."""
    if resizing.factor:
        return image
    try:
        return services.resize_image(image, services.settings.max_input_pixels, resizing).png
    except ValueError as wrong:
        raise _invalid("upscaling_resize_w", str(wrong)) from None


def _image_of(services: Services, job_id: str, http_request: Request) -> bytes:
    job = wait_for_end(services, job_id, http_request=http_request)
    if job is None:
        raise StillWorking(f"The job has not ended yet and goes on. Ask for it at {status_link(job_id)}.")
    if job.state is not State.SUCCESS:
        raise job.error or JobCancelled("The job was interrupted before the image was finished.")
    return services.results.read(job.folder, job.images[0].name)


def listed_images(services: Services, body: Mapping[str, Any]) -> dict[str, Any]:
    """The images of `imageList`, by the names of their fields. Raises InvalidRequest."""
    listed = body.get("imageList")
    if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed) or not listed:
        raise _invalid("imageList", "Must be a list of objects with an image as base64 text in data.")
    most = services.settings.max_images_per_job
    if len(listed) > most:
        raise _invalid("imageList", f"Has {len(listed)} images; at most {most} may be sent at once.")
    return {f"imageList.{number}.data": each.get("data") for number, each in enumerate(listed)}


def _resizing(body: Mapping[str, Any]) -> Resizing:
    """What the body asks for, of any image; factor 1 leaves it as it is."""
    for name in _RESTORERS:
        if body.get(name):
            raise _invalid(name, "Faces are not restored here; leave it 0.")
    if body.get("extras_upscaler_2_visibility") and _upscaler(body, "upscaler_2"):
        raise _invalid("upscaler_2", "Two results are not blended here; leave extras_upscaler_2_visibility 0.")
    chosen = _upscaler(body, "upscaler_1")
    if chosen is None:
        return Resizing(factor=1.0)
    mode = body.get("resize_mode", _BY_FACTOR)
    if mode == _BY_FACTOR:
        return Resizing(factor=_number(body, "upscaling_resize", _DEFAULT_FACTOR), filter=chosen)
    if mode == _TO_SIZE:
        width, height = (int(_number(body, f"upscaling_resize_{side}", _DEFAULT_SIDE)) for side in ("w", "h"))
        return Resizing(width, height, fit="crop" if body.get("upscaling_crop", True) else "cover", filter=chosen)
    raise _invalid("resize_mode", "Must be 0 (by a factor) or 1 (to a size).")


def _upscaler(body: Mapping[str, Any], field: str) -> Filter | None:
    name = body.get(field) or "None"
    known = {each.casefold(): filter_name for each, filter_name in UPSCALERS.items()}
    if not isinstance(name, str) or name.casefold() not in known:
        raise _invalid(field, f"Must be one of {', '.join(UPSCALERS)}.")
    return known[name.casefold()]


def _number(body: Mapping[str, Any], field: str, default: float) -> float:
    value = body.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e5:  # NaN is not either
        raise _invalid(field, "Must be a number above 0.")
    return float(value)


def _resized(services: Services, field: str, text: Any, resizing: Resizing, most: int) -> InputImage:
    if not isinstance(text, str) or not text:
        raise _invalid(field, "Must be an image as base64 text.")
    try:
        return services.resize_image(image_bytes(text), most, resizing)
    except ValueError as wrong:
        raise _invalid(field, str(wrong)) from None


def _told(resizing: Resizing) -> str:
    names = {filter_name: name for name, filter_name in UPSCALERS.items()}
    if resizing.factor == 1:
        return "<p>Not resized.</p>"
    to = f"by {resizing.factor:g}" if resizing.factor else f"to {resizing.width}x{resizing.height}"
    return f"<p>Resized {to} with {names[resizing.filter]}.</p>"


def _invalid(field: str, text: str) -> InvalidRequest:
    return InvalidRequest("The request has a field that cannot be used.", {field: [text]})
