"""What is learned of batch sizes outlives the process, is shown, and is learned before the first request."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.catalogue.entries import load_catalogue
from shared.catalogue.models import Catalogue
from shared.settings import Settings
from worker.acceleration.traced import Traced
from worker.engine import CurveFiles, DenoiseRequest, Engine
from worker.engine.batch import Evaluator, Inputs, Outcome, Outcomes
from worker.engine.curves import Curves
from worker.engine.group import Group
from worker.engine.measurement import Measurement
from worker.hardware import description as hardware
from worker.hardware.devices import Device
from worker.hardware.variants import Precision
from worker.process.warm_up import warm_up
from worker.text.conditioning import TEXT

Build = Callable[..., DenoiseRequest]
GROUP = Group("demo", Precision("full", torch.float32, torch.float32), 128, 128, ((TEXT, (77, 16)),), None)
HERE = {"hardware": "a processor", "torch": "2"}
KIND: dict[str, Any] = {"model": "demo", "width": 128, "height": 128, "threads": 2}


def test_a_curve_is_read_back_by_whoever_is_the_same_in_everything(tmp_path: Path) -> None:
    """Given a curve on disk, when it is read for the same kind and surroundings, then it is there, and for no other."""
    CurveFiles(tmp_path / "new", HERE).write(KIND, {2: 0.02, 16: 0.05})
    assert CurveFiles(tmp_path / "new", HERE).read(KIND) == {2: 0.02, 16: 0.05}
    for name in KIND:
        assert CurveFiles(tmp_path / "new", HERE).read(KIND | {name: 1}) == {}
    for name in HERE:
        assert CurveFiles(tmp_path / "new", HERE | {name: "another"}).read(KIND) == {}


@pytest.mark.parametrize(
    "broken",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b" " * 100_000, "other key", {"2": -1.0}, {"2": 0},
        {"x": 1.0}, {"2": None}, {"2": float("nan")}, {"2": float("inf")}, {"0": 1.0}, {"100000": 1.0}, [1], {"2": 1e9},
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_ignored_with_a_warning(
    broken: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Given a file that holds anything else, when it is read, then nothing is known, and the next write replaces it."""
    files = CurveFiles(tmp_path, HERE)
    files.write(KIND, {2: 0.02})
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    if isinstance(broken, bytes):
        path.write_bytes(broken)
    elif broken == "other key":
        path.write_text(json.dumps(kept | {"key": {}}))
    else:
        path.write_text(json.dumps(kept | {"seconds": broken}))
    with caplog.at_level(logging.WARNING):
        assert files.read(KIND) == {}
        assert files.read(KIND) == {}
    assert len(caplog.records) == 1
    files.write(KIND, {4: 0.03})
    assert CurveFiles(tmp_path, HERE).read(KIND) == {4: 0.03}


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Given a file where the folder should be, when curves are written, then the worker says so once and goes on."""
    (tmp_path / "taken").write_text("")
    files = CurveFiles(tmp_path / "taken", HERE)
    files.write(KIND, {2: 0.02})
    files.write(KIND, {2: 0.03})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert files.read(KIND) == {}


def test_many_workers_write_at_once_and_no_file_is_ever_torn(tmp_path: Path) -> None:
    """Given workers that write the same curve, when another reads all the time, then each reading is one of them."""
    curves = [{2: float(number + 1), 4: float(number + 1)} for number in range(4)]
    CurveFiles(tmp_path, HERE).write(KIND, curves[0])

    def write(curve: dict[int, float]) -> None:
        for _ in range(50):
            CurveFiles(tmp_path, HERE).write(KIND, curve)

    threads = [threading.Thread(target=write, args=(curve,)) for curve in curves]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert CurveFiles(tmp_path, HERE).read(KIND) in curves
    for thread in threads:
        thread.join()
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_the_folder_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more kinds than are kept, when they are written, then the latest stay."""
    monkeypatch.setattr("worker.engine.curve_files._MOST_FILES", 5)
    files = CurveFiles(tmp_path, HERE)
    for width in range(8):
        files.write(KIND | {"width": width}, {2: 0.02})
        assert files.read(KIND | {"width": width})
    assert len(list(tmp_path.iterdir())) == 5


def test_what_one_process_learned_the_next_one_knows(tmp_path: Path) -> None:
    """Given a curve that was learned and kept, when another process asks for it, then it has the optimum, says from
    where, and writes nothing; on other threads it knows nothing."""
    first = Curves(CurveFiles(tmp_path, HERE))
    for items in (2, 4, 8, 16):
        for _ in range(4):
            first.note(GROUP, 2, items, 0.1)
    first.keep()
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    second = Curves(CurveFiles(tmp_path, HERE))
    assert second.optimum(GROUP, 2) == first.optimum(GROUP, 2) == ("demo at 128x128", 8)
    assert second.optimum(GROUP, 1) == ("demo at 128x128", 1)
    (told,) = second.report()["curves"]
    assert told == {
        "model": "demo", "width": 128, "height": 128, "precision": "full", "tokens": 77, "at_most": None, "threads": 2,
        "optimal_batch_size": 8, "learned_from": ["disk"],
        "seconds_by_batch_items": {"2": 0.1, "4": 0.1, "8": 0.1, "16": 0.1},
    }  # fmt: skip
    second.keep()
    assert path.stat().st_mtime_ns == written
    second.note(GROUP, 2, 2, 0.1)
    assert second.report()["curves"][0]["learned_from"] == ["disk", "requests"]


class Clock:
    """Passes take what the curve says, in no time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, curve: Callable[[int], float]) -> None:
        self.now = 0.0
        self.sizes: list[int] = []

        def evaluate(_evaluator: Evaluator, batch: Any, _inputs: Inputs) -> Outcomes:
            items = sum(running.batch_items for running in batch)
            self.sizes.append(items)
            self.now += curve(items)
            return Outcomes([Outcome(slice(0, len(batch)), torch.zeros(items, 4, 8, 8))])

        monkeypatch.setattr(Evaluator, "evaluate", evaluate)
        monkeypatch.setattr(Measurement, "prepare", lambda *_: None)  # it has a test of its own
        monkeypatch.setattr("time.perf_counter", lambda: self.now)
        monkeypatch.setattr("worker.engine.measurement.time.monotonic", lambda: self.now)


@pytest.fixture
def start(settings: Settings, catalogue: Catalogue, tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    """Starts an engine that keeps its curves in a folder of the test."""
    engines = []

    def begin() -> Engine:
        engine = Engine(settings, catalogue, curve_files=CurveFiles(tmp_path, HERE))
        engine.start()
        engines.append(engine)
        return engine

    yield begin
    for engine in engines:
        engine.stop()


def bfloat16(items: int) -> float:
    """Of the demo model on a processor with bfloat16: seconds a pass; two requests gain nothing, four much."""
    return {2: 0.0217, 4: 0.0426, 8: 0.0352, 16: 0.0488, 32: 0.0912, 64: 0.1824}[items]


def test_before_the_first_request_the_whole_curve_is_measured(
    start: Callable[[], Engine], request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a curve on which two gain nothing, when it is measured at the start, then every size up to 32 is, the
    optimum is that of the whole, and the next start takes it from the disk."""
    clock = Clock(monkeypatch, bfloat16)
    engine = start()
    assert engine.measure(request_for(), 3.0, 0.02) == ("tiny-sd1 at 64x64", 16)
    assert clock.sizes == [size for size in (2, 4, 8, 16, 32, 64) for _ in range(4)]
    assert engine.wanted() == 64  # what was not tried
    engine.keep_curves()
    clock.sizes.clear()
    assert start().measure(request_for(), 3.0, 0.02) == ("tiny-sd1 at 64x64", 16)
    assert clock.sizes == []


def test_what_is_measured_is_prepared_first(
    start: Callable[[], Engine], request_for: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a model whose passes can be made faster, when it is measured, then they are before the first is timed, for
    every size at which requests may come; without time to measure nothing is."""
    prepared: list[int] = []
    preparing = Traced.preparing

    @contextmanager
    def watched(traced: Traced) -> Iterator[None]:
        with preparing(traced):
            yield
        prepared.append(len(traced._recordings))

    monkeypatch.setattr(Traced, "preparing", watched)
    engine = start()
    engine.measure(request_for(), 0.0, 0.02)
    assert prepared == []
    engine.measure(request_for(), 0.1, 0.02)
    assert prepared == [5]


@pytest.mark.parametrize(("at_most_s", "pass_s", "passes"), [(0.0, 0.02, 0), (3.0, 20.0, 0), (0.1, 0.02, 4)])
def test_measuring_keeps_to_its_time(
    at_most_s: float,
    pass_s: float,
    passes: int,
    start: Callable[[], Engine],
    request_for: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given little time, or a slow model, when it is measured, then no pass is begun that would not end in time."""
    clock = Clock(monkeypatch, bfloat16)
    assert start().measure(request_for(), at_most_s, pass_s)[1] == 1
    assert clock.sizes == [2] * passes


def test_a_worker_says_its_optimal_batch_size(
    start: Callable[[], Engine], catalogue: Catalogue, settings: Settings, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Given a warm-up, when it ends, then the log has the optimal batch size in one line."""
    Clock(monkeypatch, bfloat16)
    with caplog.at_level(logging.INFO):
        warm_up(start(), catalogue.default, replace(settings, warm_up_s=3.0))
    assert "optimal batch size of tiny-sd1 at 64x64: 16" in caplog.messages


def test_a_model_without_weights_is_no_obstacle(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Given a default model whose weights are nowhere, when the worker warms up, then it says so and goes on."""
    model = load_catalogue("sd15").default
    warm_up(None, model, settings)  # type: ignore[arg-type]  # it is not asked
    assert "sd15 has no weights here yet" in caplog.text


def test_processors_of_different_speed_have_different_names(tmp_path: Path) -> None:
    """Given descriptions of two processors, then their names differ, and one that cannot be read is no error."""
    names = set()
    for number, text in enumerate(("model name : AMD EPYC\n", "flags: avx2\nmodel name\t: Intel Xeon\n", "")):
        (tmp_path / str(number)).write_text(text)
        names.add(hardware.hardware(Device("cpu"), tmp_path / str(number)))
    names.add(hardware.hardware(Device("cpu"), tmp_path / "nowhere"))
    assert len(names) == 3
    told = hardware.surroundings(Settings(), Device("cpu"))
    assert told["torch"] == torch.__version__
    assert all(isinstance(value, str) for value in told.values())
