"""What is logged, as text and as JSON."""

import json
import logging
import threading
import warnings

import pytest

from shared.logs import about_job, configure_logging
from shared.settings import Settings


@pytest.fixture
def root(monkeypatch):
    """The root logger, put back afterwards."""
    logger = logging.getLogger()
    monkeypatch.setattr(logger, "handlers", list(logger.handlers))
    level = logger.level
    yield logger
    logging.captureWarnings(False)
    logger.setLevel(level)


def test_json_lines_carry_the_job_they_are_about(root, capsys):
    """Given JSON logs, when a library logs amid a job, then its line is JSON with the job's id; outside it has none."""
    configure_logging(Settings(log_format="json"))
    with about_job("j1", row=2):
        logging.getLogger("some.library").warning("slow: %d s", 3)
    logging.getLogger("some.library").info("idle")

    inside, outside = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (inside["event"], inside["level"], inside["logger"]) == ("slow: 3 s", "warning", "some.library")
    assert (inside["job_id"], inside["row"]) == ("j1", 2)
    assert inside["timestamp"].endswith("Z")
    assert "job_id" not in outside


def test_a_warning_of_python_is_a_line_like_any_other(root, capsys):
    """Given JSON logs, when a library warns by Python's own means, then its line is JSON too."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging(Settings(log_format="json"))
        warnings.warn("old and slow", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)

    (line,) = capsys.readouterr().err.splitlines()
    assert "old and slow" in json.loads(line)["event"]


def test_an_exception_is_one_line_of_json(root, capsys):
    """Given JSON logs, when an exception is logged, then its trace is a field of the one line."""
    configure_logging(Settings(log_format="json"))
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("x").exception("failed")

    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: broken" in json.loads(line)["exception"]


def test_text_is_for_people(root, capsys):
    """Given text logs, when something is logged in a job, then line and id can be read, without colours."""
    configure_logging(Settings())
    with about_job("j1"):
        logging.getLogger("x").info("done")

    text = capsys.readouterr().err
    assert "done" in text
    assert "job_id=j1" in text
    assert "\x1b" not in text


def test_threads_keep_their_jobs_apart(root, capsys):
    """Given two threads at two jobs, when both log, then each line has its own job's id."""
    configure_logging(Settings(log_format="json"))
    meet = threading.Barrier(2)

    def work(job_id):
        with about_job(job_id):
            meet.wait(5)
            logging.getLogger("x").info(job_id)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["event"] for line in lines} == {"a", "b"}
    assert all(line["event"] == line["job_id"] for line in lines)


def test_levels_hold_for_libraries_too(root, capsys):
    """Given WARNING, when something less is logged, then nothing is written."""
    configure_logging(Settings(log_level="WARNING"))
    logging.getLogger("some.library").info("chatter")
    assert capsys.readouterr().err == ""


FORGED = "2026-01-01T00:00:00Z [error] forged [api.app]"
BREAKS = [
    "\n",
    "\r",
    "\r\n",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\u2028",
    "\u2029",
    "\x00",
    "\x1b[2K\x1b[1G",
    "\x9b",
    "\u202e",
]


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("mark", BREAKS)
def test_no_line_is_forged_by_what_is_logged(root, capsys, log_format, mark):
    """Given text with breaks and control characters in a message and in a value, when logged, then it is one line."""
    configure_logging(Settings(log_format=log_format))
    with about_job("j1", value=f"x{mark}{FORGED}"):
        logging.getLogger("x").warning("asked for %s", f"y{mark}{FORGED}")

    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    assert text.count("forged") == 2


@pytest.mark.parametrize("mark", BREAKS)
def test_no_line_is_forged_by_what_an_exception_says(root, capsys, mark):
    """Given an exception with breaks in its text, when logged as text, then every line of its trace is indented."""
    configure_logging(Settings())
    try:
        raise ValueError(f"no such thing: x{mark}{FORGED}")
    except ValueError:
        logging.getLogger("x").exception("failed")

    first, *trace = capsys.readouterr().err.splitlines()
    assert first.endswith("failed [x]")
    assert trace
    assert all(line.startswith("    ") and line.isprintable() for line in trace)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_trace_does_not_show_variables(root, capsys, log_format):
    """Given a key in a variable, when an exception is logged, then the trace is there and the key is not."""
    configure_logging(Settings(log_format=log_format))

    def strike(api_key):
        raise ZeroDivisionError(len(api_key))

    try:
        strike("".join(["my", "-own-", "key"]))
    except ZeroDivisionError:
        logging.getLogger("x").exception("failed")

    text = capsys.readouterr().err
    assert "ZeroDivisionError: 10" in text
    assert "my-own-key" not in text
