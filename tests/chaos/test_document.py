"""Requests made from the API document by Schemathesis, as it allows them and as it does not: `make test-schema`."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.settings import DUMMY_API_KEY, Settings
from tests.chaos.conftest import Scale
from tests.chaos.instant_worker import InstantWorker
from tests.e2e.service import Service

ServiceFactory = Callable[..., Service]
Keep = Callable[..., None]
# no 5xx; what is answered is what the document says; a key that is wrong opens nothing
_CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "ignored_auth",
)  # fmt: skip


@pytest.mark.full
def test_no_request_that_the_document_allows_or_forbids_breaks_it(
    make_service: ServiceFactory, scale: Scale, keep_figures: Keep, tmp_path: Path
) -> None:
    """Given the document of all dialects, and a worker that ends every job at once, when requests are made from it,
    valid and not, then none gets a 5xx, hangs, or is answered otherwise than the document tells."""
    wanted = scale(100, 10_000)
    service = make_service(
        workers=0, MAX_WAITING_JOBS="0", MAX_KEY_BYTES="0", MAX_IMAGES_PER_JOB="16", WRONG_KEYS_PER_MINUTE="0",
        SYNC_TIMEOUT_S="60",
        DIALECT_TIMEOUT_S="60",
    )  # fmt: skip
    settings = Settings(
        redis_url=service.redis_url, key_prefix=service.key_prefix, output_dir=str(service.output_dir)
    )  # fmt: skip

    def some(seed: int) -> int:
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json",
            "--checks", ",".join(_CHECKS), "--max-examples", str(scale(2, 100)), "--seed", str(seed),
            "--phases", scale("examples,fuzzing", "examples,coverage,fuzzing,stateful"),
            "--header", f"X-API-Key: {DUMMY_API_KEY}", "--request-timeout", "90", "--no-shrink",
            "--continue-on-failure", "--no-color",
        ]  # fmt: skip
        run = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=scale(300, 3000),
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
        made = re.search(r"([\d,]+) generated", run.stdout)
        assert made, run.stdout[-2000:]
        return int(made[1].replace(",", ""))

    # it takes fewer of an operation than it may, sometimes far fewer
    count = 0
    with InstantWorker(settings) as worker:
        for seed in range(1, 11):
            count += some(seed)
            if count >= wanted:
                break
    assert count >= wanted
    assert worker.faults == []
    assert worker.finished, "nothing was ever accepted"
    keep_figures(requests=count, answers_5xx=0, jobs=worker.finished)
