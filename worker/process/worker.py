"""A worker process put together: engine, tasks and periodic duties, under Celery's threads pool."""

import logging
import threading
from contextlib import suppress
from typing import Any

import redis
from celery import Celery
from celery.signals import worker_init, worker_shutdown

from shared.callback_hosts import CallbackHosts
from shared.catalogue.library import Library
from shared.jobs.store import JobStore
from shared.jobs.workers import WorkerRegister
from shared.queue import TaskQueue, connect, make_celery
from shared.settings import Settings, SettingsError
from shared.storage.results import ResultStore
from shared.variants import QUEUES, VARIANTS
from worker.engine import CurveFiles, Engine
from worker.hardware.core_sharing import Neighbours
from worker.hardware.description import surroundings
from worker.hardware.devices import pick_device
from worker.jobs.admission import Admission
from worker.jobs.cleanup import CleanUp
from worker.jobs.deliveries import Deliveries
from worker.jobs.patience import Patience
from worker.jobs.prefetch import Prefetch
from worker.jobs.progress import Reporter
from worker.jobs.reception import Reception
from worker.jobs.recovery import Recovery
from worker.jobs.runner import TaskRunner
from worker.jobs.tasks import register_tasks
from worker.jobs.webhooks import CallbackSender
from worker.models.hashing import ModelHashes
from worker.observations import Observations
from worker.process.announcer import Announcer
from worker.process.ending import Ending
from worker.process.health import Pulse
from worker.process.identity import worker_name
from worker.process.model_watch import ModelWatch
from worker.process.periodic import Periodic
from worker.process.warm_up import compile_ahead, warm_up
from worker.upscalers.enlarger import Enlarger

log = logging.getLogger(__name__)

_CLEAN_UP_S = 30.0
_PULSE_S = 5.0
_KEEP_CURVES_S = 30.0
_WATCH_S = 0.5
_CALLBACKS_S = 0.5
_MODELS_S = 0.5
_HASHES_S = 2.0


class Worker:
    """One process, one device, one engine; up to `settings.worker_slots` tasks at a time wait on it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = worker_name(settings)
        self._device = pick_device(settings.device)
        # on a CPU the variants do not differ, whatever the operator calls it
        self._variant = "cpu" if self._device.kind == "cpu" else settings.worker_variant
        self._variants = VARIANTS[self._variant].serves
        client = connect(settings)
        self._jobs = JobStore.from_settings(client, settings)
        self._results = ResultStore(settings.output_dir, settings.presigned_links_s)
        self._library = Library(settings)
        self._catalogue = self._library.catalogue
        self._ending = Ending()
        curve_files = CurveFiles(settings.compile_cache_dir / "step_times", surroundings(settings, self._device))
        observations = Observations()
        self._engine = Engine(
            settings, self._catalogue, self._engine_failed, curve_files, self._wanted_changed, observations
        )
        self._announcer = Announcer(
            self.name,
            self._variant,
            settings.worker_slots,
            self._device,
            self._catalogue,
            self._engine,
            register := WorkerRegister(client, settings.key_prefix, settings.worker_ttl_s),
            observations,
        )
        self._model_watch = ModelWatch(self._library, register, self._announcer, self._announce)
        self._hashes = ModelHashes(self._library, self._engine.warm_models)
        self._deliveries = Deliveries(client, settings.key_prefix)
        self._neighbours = Neighbours(client, settings.key_prefix, settings.worker_ttl_s)
        self._reporter = Reporter(self._jobs)
        self._tasks = TaskRunner(
            self._jobs,
            self._results,
            self._engine,
            self._announcer.served_elsewhere,
            self._announcer.left_to_others,
            Patience(self._ending.begun),
            self._reporter,
            observations,
            self._model_hash,
            Enlarger(self._engine.networks, self._engine.run_aside),
            self._device.name,
        )
        self._admission = Admission(
            self._jobs.backlog,
            self._tasks,
            self._engine,
            self._variants,
            settings.worker_slots,
            self._announcer.others_with_room,
        )
        self.app: Celery = make_celery(settings)
        self._pulse = Pulse(self.name)
        self._clean_up_s = min(_CLEAN_UP_S, settings.result_ttl_s)
        self._clean_up = CleanUp(self._jobs, self._results, settings.result_quota_bytes, self._clean_up_s)
        self._duties = self._make_duties(TaskQueue(self.app, client, settings.key_prefix))
        self._controller: Any = None
        self._prefetch = Prefetch(self.app, self._admission.takes_more)
        self._reception = Reception(self.app)
        register_tasks(self.app, self._tasks, self._deliveries, self._prefetch)

    def _make_duties(self, queue: TaskQueue) -> list[Periodic]:
        """What is done at intervals, each kind on a thread of its own: what is slow must not hold up a heartbeat."""
        settings = self.settings
        often_s = settings.worker_beat_s
        recovery = Recovery(self._jobs, queue)
        return [
            Periodic([
                (settings.visibility_timeout_s / 4, self._renew),
                (often_s, self._announce),
                (_PULSE_S, self._show_pulse),
            ], "heartbeat"),
            Periodic([(_WATCH_S, self._watch)], "watch"),
            Periodic([
                (often_s, self._announcer.look_around), (often_s, self._share_cores), (often_s, recovery.look)
            ], "chores"),
            Periodic([(_MODELS_S, self._model_watch.look)], "models"),
            Periodic([(_HASHES_S, self._hashes.compute_next)], "hashes", yields=True),
            Periodic([(self._clean_up_s, self._clean_up.look)], "clean-up"),
            Periodic([(_KEEP_CURVES_S, self._engine.keep_curves)], "curves"),
            *self._calls_back(),
        ]  # fmt: skip

    def _calls_back(self) -> list[Periodic]:
        """The thread that tells callers of the end of their jobs; none where no host may be called."""
        settings = self.settings
        if not settings.callback_hosts:
            return []
        if not settings.callback_secret:
            raise SettingsError("CALLBACK_SECRET: must be set where CALLBACK_HOSTS is; it signs what is sent there")
        sender = CallbackSender(
            self._jobs,
            self._results,
            CallbackHosts(settings.callback_hosts),
            settings.callback_secret,
            settings.callback_attempts,
        )
        return [Periodic([(_CALLBACKS_S, sender.send_due)], "callbacks")]

    def run(self) -> None:
        """Serve until SIGTERM; then finish the tasks in progress and leave.

        Raises SystemExit with another status than 0 when it cannot go on.
        """
        self._ending.listen(self._jobs.redis.ping)
        worker_init.connect(self._start)
        worker_shutdown.connect(self._stop)
        settings = self.settings
        self.app.worker_main([
            "worker",
            "--pool", "threads",
            "--concurrency", str(settings.worker_slots),
            "--queues", ",".join(QUEUES[variant] for variant in self._variants),
            "--hostname", f"{self.name}@%h",
            "--loglevel", settings.log_level,
            "--without-gossip", "--without-mingle", *([] if settings.worker_events else ["--without-heartbeat"]),
        ])  # fmt: skip
        self._ending.finish(self._controller.exitcode or 0)

    def _engine_failed(self, error: BaseException) -> None:
        first_line = str(error).partition("\n")[0]
        self._ending.fail(f"its engine failed: {type(error).__name__}: {first_line}")

    def _start(self, sender: Any, **_: Any) -> None:
        self._controller = sender
        try:
            self._begin()
        except Exception as error:  # Celery would go on without us
            log.exception("the worker cannot begin")
            self._ending.fail(f"it cannot begin: {error}")

    def _begin(self) -> None:
        with suppress(redis.RedisError):  # it is tried again at intervals
            self._share_cores()
        self._engine.start()
        warm_up(self._engine, self._catalogue.default, self.settings)
        with suppress(redis.RedisError):
            self._announcer.look_around()
        self._reporter.start()
        for duties in self._duties:
            duties.start()
        ahead = (self._engine, self._catalogue.default, self.settings)
        threading.Thread(target=compile_ahead, args=ahead, name="compile ahead", daemon=True).start()

    def _stop(self, **_: Any) -> None:
        self._clean_up.stop()
        self._hashes.stop()
        for duties in self._duties:
            duties.stop()
        self._engine.stop()
        self._reporter.stop()
        self._engine.keep_curves()
        self._pulse.stop()
        with suppress(redis.RedisError):  # both run out by themselves
            self._announcer.leave()
            self._neighbours.leave(self.name)

    def _renew(self) -> None:
        """Send the heartbeats of what is in hand: not where nobody works on it any more."""
        if self._engine.alive:
            self._deliveries.renew()
            self._tasks.renew()

    def _show_pulse(self) -> None:
        if self._engine.alive:
            with suppress(OSError):  # without a folder for it nobody asks for it either
                self._pulse.show()

    def _model_hash(self, name: str) -> str:
        model = self._catalogue.find(name)
        return model.short_hash if model else ""

    def _wanted_changed(self) -> None:
        self._prefetch.wake()

    def _watch(self) -> None:
        self._prefetch.adjust()
        self._tasks.watch()

    def _share_cores(self) -> None:
        if self._device.kind == "cpu":
            self._engine.share_cores(self._neighbours.count(self.name))

    def _announce(self) -> None:
        """Say that this worker lives: while its engine does, and as long as messages reach it."""
        if self._engine.alive and self._reception.receives():
            self._announcer.announce(len(self._tasks.in_hand()), self._admission.room())
