"""What the views work with: built once a process, handed to the factory, replaced by fakes in tests."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from api.decoding.image_decoder import ImageDecoder
from api.decoding.thumbnail import make_thumbnail
from api.events.reader import LOOK_S, EventReader
from api.http.auth import Door
from api.http.places import Places
from api.http.rate_limit import RateLimit
from api.responses.thumbnails import MakeThumbnail, Thumbnails
from shared.callback_hosts import CallbackHosts
from shared.catalogue.entries import entries_for
from shared.catalogue.models import Catalogue
from shared.jobs.chosen_models import ChosenModels
from shared.jobs.events import EventLog
from shared.jobs.keys import Keys
from shared.jobs.live_catalogue import LiveCatalogue
from shared.jobs.store import JobStore
from shared.jobs.submissions import Submissions
from shared.jobs.workers import WorkerRegister
from shared.queue import TaskQueue, connect, make_celery
from shared.request.image_text import ReadImageText, read_image_text
from shared.request.input_image import DecodeImage, decode_image, decode_mask
from shared.request.limits import Limits
from shared.request.preprocessors import PreprocessImage, preprocess_image
from shared.request.resizing import ResizeImage, resize_image
from shared.settings import Settings
from shared.storage.results import ResultStore

# a worker that came or went is noticed so much later, and a submit need not ask for them
_WORKERS_KNOWN_FOR_S = 0.5


@dataclass(frozen=True)
class Services:
    settings: Settings
    catalogue: Catalogue
    jobs: JobStore
    results: ResultStore
    queue: TaskQueue
    workers: WorkerRegister
    submissions: Submissions
    rate: RateLimit
    #: These in this process unless told otherwise, as in tests.
    decode_image: DecodeImage = decode_image
    decode_mask: DecodeImage = decode_mask
    resize_image: ResizeImage = resize_image
    preprocess_image: PreprocessImage = preprocess_image
    read_image_text: ReadImageText = read_image_text
    make_thumbnail: MakeThumbnail = make_thumbnail
    #: Set when this process is to end: whoever waits for an image is sent to `/status` instead.
    stopping: "Stopping" = field(default_factory=lambda: Stopping())

    @cached_property
    def door(self) -> Door:
        """Who gets in, with what this process remembers of it."""
        return Door(self.settings)

    @cached_property
    def chosen_models(self) -> ChosenModels:
        """The models that keys have chosen for what they ask next."""
        return ChosenModels(self.jobs.redis, self.jobs.prefix)

    @cached_property
    def waiting_places(self) -> Places:
        """For clients that wait for their images."""
        return Places(self.settings.sync_waiters)

    @cached_property
    def thumbnails(self) -> Thumbnails:
        """Small versions of stored images, with those that this process made of late."""
        return Thumbnails(self.make_thumbnail)

    @cached_property
    def listening_places(self) -> Places:
        """For clients that listen to events."""
        return Places(self.settings.event_listeners)

    @cached_property
    def events(self) -> EventReader:
        """What happens to jobs, for all who wait or listen in this process."""
        client = connect(self.settings, waits_s=LOOK_S)
        reader = EventReader(EventLog(client, Keys(self.settings.key_prefix)), self.jobs)
        self.stopping.when_set(reader.stop)
        return reader

    @property
    def limits(self) -> Limits:
        return Limits(
            catalogue=self.catalogue,
            prompts_dir=Path(self.settings.prompts_dir),
            max_input_pixels=self.settings.max_input_pixels,
            max_prompt_chars=self.settings.max_prompt_chars,
            max_images=self.settings.max_images_per_job,
            max_cost=self.settings.max_job_cost,
            callback_hosts=CallbackHosts(self.settings.callback_hosts),
            decode_image=self.decode_image,
            decode_mask=self.decode_mask,
            max_pixels=self.settings.max_pixels,
        )


class Stopping(threading.Event):
    """That this process is to end."""

    def __init__(self) -> None:
        super().__init__()
        self._told: list[Callable[[], None]] = []

    def when_set(self, act: Callable[[], None]) -> None:
        """Call this once it is set, perhaps more than once."""
        self._told.append(act)

    def set(self) -> None:
        super().set()
        for act in self._told:
            act()


def build_services(settings: Settings) -> Services:
    """The real collaborators; nothing connects before the first request."""
    client = connect(settings)
    decoder = ImageDecoder.from_settings(settings)
    workers = WorkerRegister(client, settings.key_prefix, ttl_s=settings.worker_ttl_s, cache_s=_WORKERS_KNOWN_FOR_S)
    return Services(
        settings=settings,
        catalogue=LiveCatalogue(entries_for(settings), settings.default_model, workers),
        jobs=JobStore.from_settings(client, settings),
        results=ResultStore(settings.output_dir, settings.presigned_links_s),
        queue=TaskQueue(make_celery(settings), client, settings.key_prefix),
        workers=workers,
        submissions=Submissions(client, settings.key_prefix),
        rate=RateLimit(settings),
        decode_image=decoder,
        decode_mask=decoder.mask,
        resize_image=decoder.resize,
        preprocess_image=decoder.preprocess,
        read_image_text=decoder.read_text,
        make_thumbnail=decoder.thumbnail,
    )
