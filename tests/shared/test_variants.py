"""The table of variants."""

import re
from pathlib import Path

import pytest

from shared.request.intake import load_request
from shared.request.schemas import GenerateSchema
from shared.settings import SettingsError, read_settings
from shared.variants import ANY, QUEUES, REQUEST_TYPES, VARIANTS, WORKER_VARIANTS

ROOT = Path(__file__).parents[2]


def test_every_queue_is_read_and_a_cpu_worker_reads_them_all():
    """Given the table, when queues and workers are compared, then each worker takes what asks for its own variant and
    what asks for none, and a CPU worker takes everything."""
    for variant in REQUEST_TYPES:
        assert VARIANTS[variant].serves == (ANY, variant)
    assert set(VARIANTS["cpu"].serves) == set(QUEUES)
    assert len(set(QUEUES.values())) == len(QUEUES), "no two variants share a queue"


def test_a_request_may_ask_for_each_type_and_no_other(limits):
    """Given a request, when it names a variant that has a queue and workers, or none, then its tasks are for that
    variant or for any."""
    schema = GenerateSchema(limits)
    for variant in REQUEST_TYPES:
        assert load_request(schema, {"prompt": "a cat", "type": variant})[0].variant == variant
    assert load_request(schema, {"prompt": "a cat"})[0].variant == ANY
    for name in set(VARIANTS) - set(REQUEST_TYPES):
        assert "type" in schema.validate({"prompt": "a cat", "type": name})


def test_a_worker_may_be_each_variant_that_serves_something(monkeypatch):
    """Given WORKER_VARIANT, when it names a variant whose workers serve requests, then it holds; any other is
    refused."""
    for variant in WORKER_VARIANTS:
        monkeypatch.setenv("WORKER_VARIANT", variant)
        assert read_settings().worker_variant == variant
    monkeypatch.setenv("WORKER_VARIANT", ANY)
    with pytest.raises(SettingsError, match="WORKER_VARIANT"):
        read_settings()


@pytest.mark.parametrize("room", ["api", "shared", "worker"])
def test_the_name_of_a_queue_stands_in_the_table_alone(room):
    """Given the sources, when names of queues are looked for, then only the table has them."""
    named = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"images\.(any|standard|optimized)", path.read_text())
    ]
    assert named == (["shared/variants.py"] if room == "shared" else [])
