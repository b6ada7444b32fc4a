"""`python -m worker`: start a worker with the settings of the environment."""

import logging
import sys

from shared.logs import configure_logging
from shared.queue import connect
from shared.redis.server import check_server, warn_of_risk
from shared.settings import Settings, SettingsError, keep_compiled_kernels, limit_spinning, read_settings
from worker.process.fleet import Fleet, gpus, one_a_gpu, worker_command


def main() -> None:
    """Run one worker, or one a GPU; a setting that cannot be used is one line on standard error and exit status 2."""
    limit_spinning()
    try:
        settings = read_settings()
        # before anything is built, which may have something to say
        configure_logging(settings)
        for says_nothing_of_the_job in ("celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(says_nothing_of_the_job).setLevel(logging.WARNING)
        with connect(settings) as client:
            check_server(client)
        if settings.worker_gpus:
            raise SystemExit(_run_fleet(settings))
        warn_of_risk(connect(settings))
        from worker.process.worker import Worker  # imports torch

        keep_compiled_kernels(settings.compile_cache_dir)
        worker = Worker(settings)
    except (SettingsError, ValueError) as wrong:
        sys.stderr.write(f"worker: {wrong}\n")
        raise SystemExit(2) from None
    worker.run()


def _run_fleet(settings: Settings) -> int:
    numbers = gpus(settings)
    if not numbers:
        raise SettingsError("WORKER_GPUS: there is no GPU here; unset it to compute on the CPU")
    return Fleet(worker_command(), one_a_gpu(numbers)).run()


if __name__ == "__main__":
    main()
