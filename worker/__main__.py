"""`python -m worker`: start a worker with the settings of the environment."""

import logging
import sys

from shared.logs import configure_logging
from shared.settings import SettingsError, keep_compiled_kernels, let_idle_threads_sleep, read_settings


def main() -> None:
    """Run one worker; a setting that cannot be used is one line on standard error and exit status 2."""
    let_idle_threads_sleep()
    from worker.app import Worker  # imports torch

    try:
        settings = read_settings()
        keep_compiled_kernels(settings.compile_cache_dir)
        worker = Worker(settings)
    except (SettingsError, ValueError) as wrong:
        sys.stderr.write(f"worker: {wrong}\n")
        raise SystemExit(2) from None
    configure_logging(settings)
    for says_nothing_of_the_job in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(says_nothing_of_the_job).setLevel(logging.WARNING)
    worker.run()


if __name__ == "__main__":
    main()
