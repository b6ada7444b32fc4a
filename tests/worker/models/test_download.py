"""Models from a hub: a small one on this machine, spoken to by the real client library."""

import errno
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.catalogue.models import Catalogue, Model
from shared.errors import JobCancelled, ModelUnavailable, ServiceError, StorageFull
from shared.settings import Settings
from tests.worker.hub import Hub, running_hub
from tests.worker.sd_models import write_tiny_model
from worker.hardware.devices import Device
from worker.hardware.variants import choose_precision, profile_for
from worker.models.cache import CheckpointCache
from worker.models.download import Downloads, _Download

CPU = Device("cpu")
PROFILE = profile_for("cpu", CPU)
FULL = choose_precision("full", PROFILE, CPU)
MODEL = Model("mine", "Mine", (), "hub:someone/tiny", "sd1", ("v1-inference.yaml",), 64, 512)


def silent(_percent: int) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def hub_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    write_tiny_model(root / "tiny", "<|endoftext|>", "epsilon")
    # what every published repository has too, and nobody here needs
    (root / "tiny" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (root / "tiny" / "v1-5-pruned.ckpt").write_bytes(b"pickle")
    return root


@pytest.fixture
def hub(hub_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine."""
    monkeypatch.setattr("worker.models.download._LOOK_S", 0.02)
    with running_hub(hub_root) as hub:
        yield hub


@pytest.fixture
def settings(tmp_path: Path, hub: Hub) -> Settings:
    return Settings(
        models_dir=tmp_path / "models", allow_downloads=True, hf_endpoint=hub.url, device="cpu", torch_threads=1
    )


def test_a_model_is_fetched_and_can_be_loaded(hub: Hub, settings: Settings) -> None:
    """Given a model on the hub, when it is fetched, then it loads, and no pickle or other extra was asked for."""
    cache = CheckpointCache(settings, Catalogue({"mine": MODEL}, "mine"), CPU, PROFILE)
    assert cache.missing() == {}
    cache.fetch("mine", silent)
    assert cache.get("mine", FULL, ()).model.name == "mine"
    assert "unet/diffusion_pytorch_model.safetensors" in hub.fetched
    assert not any(name.endswith((".bin", ".ckpt")) for name in hub.fetched)
    asked = list(hub.fetched)
    cache.fetch("mine", silent)
    assert hub.fetched == asked, "what is here is not fetched again"


def test_progress_is_told_while_bytes_arrive(hub: Hub, settings: Settings) -> None:
    """Given a hub that hesitates, when a model is fetched, then percentages are reported, rising, never 100."""
    hub.gate.clear()
    told: list[int] = []

    def report(percent: int) -> None:
        told.append(percent)
        hub.gate.set()

    Downloads(settings).fetch(MODEL, report)
    assert told
    assert told == sorted(told)
    assert set(told) <= set(range(100))


def test_the_percentage_is_that_of_the_bytes(settings: Settings) -> None:
    """Given 43 of 100 bytes on the disk, when the progress is asked for, then it is 43, whoever fetches them."""
    from worker.models.download import _Download

    partial = settings.models_dir / ".mine.partial" / "unet"
    partial.mkdir(parents=True)
    download = _Download(MODEL, settings)
    assert download.percent == 0
    (partial / "weights.incomplete").write_bytes(b"x" * 43)
    (settings.models_dir / ".mine.size").write_text("100")
    assert download.percent == 43


def test_several_workers_fetch_a_model_once(hub: Hub, settings: Settings) -> None:
    """Given two workers of three tasks each that want one model, when all fetch it, then every file was sent once."""
    workers = [Downloads(settings), Downloads(settings)]
    threads = [threading.Thread(target=worker.fetch, args=(MODEL, silent)) for worker in workers * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert MODEL.place(settings.models_dir) == settings.models_dir / "mine"
    assert sorted(hub.fetched) == sorted(set(hub.fetched))
    assert len(hub.fetched) > 5


HOLDER = "import sys, time, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print(flush=True)\n    time.sleep(600)"


@pytest.mark.programs
def test_a_download_of_a_worker_that_is_killed_is_taken_over(hub: Hub, settings: Settings) -> None:
    """Given another process that fetches the model, when it is killed, then who waited fetches it, and not before."""
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLDER, str(settings.models_dir / ".mine.lock")]
    before: list[int] = []

    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()

        def kill(_percent: int) -> None:
            before.append(len(hub.fetched))
            holder.kill()

        Downloads(settings).fetch(MODEL, kill)

    assert before[0] == 0
    assert MODEL.place(settings.models_dir)


def test_a_cancelled_job_stops_waiting_and_the_download_goes_on(hub: Hub, settings: Settings) -> None:
    """Given a download under way, when its job is cancelled, then the wait ends; the next to ask finds it done."""

    def cancelled(_percent: int) -> None:
        raise JobCancelled("The job was ended.")

    hub.gate.clear()
    downloads = Downloads(settings)
    with pytest.raises(JobCancelled):
        downloads.fetch(MODEL, cancelled)
    hub.gate.set()
    downloads.fetch(MODEL, silent)
    assert MODEL.place(settings.models_dir)
    assert sorted(hub.fetched) == sorted(set(hub.fetched))


def test_a_download_cut_short_is_resumed_and_never_loaded(hub: Hub, settings: Settings) -> None:
    """Given a hub that stops midway, when the model is fetched again, then only what was missing is sent."""
    last = "vae/diffusion_pytorch_model.safetensors"
    hub.refused.add(last)
    downloads = Downloads(settings)
    with pytest.raises(ModelUnavailable, match="could not be downloaded from someone/tiny"):
        downloads.fetch(MODEL, silent)
    assert MODEL.place(settings.models_dir) is None
    before = list(hub.fetched)
    assert "unet/diffusion_pytorch_model.safetensors" in before
    hub.refused.clear()
    downloads.fetch(MODEL, silent)
    assert MODEL.place(settings.models_dir)
    assert hub.fetched == [*before, last]


def test_an_error_just_after_the_last_look_is_not_taken_for_success(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a download that fails in the moment after a wait for it, when waited for, then not yet; then its error."""
    download = _Download(MODEL, settings)

    def too_early(_seconds: float) -> bool:
        download._error = ModelUnavailable("It failed.")
        download._done.set()
        return False

    with monkeypatch.context() as during:
        during.setattr(download._done, "wait", too_early)
        assert not download.wait(1)
    with pytest.raises(ModelUnavailable):
        download.wait(1)


def failing(settings: Settings, model: Model = MODEL) -> ServiceError:
    with pytest.raises(ServiceError) as failed:
        Downloads(settings).fetch(model, silent)
    assert failed.value.message.startswith("The model 'mine' could not be downloaded")
    return failed.value


def test_no_network_is_told_with_the_remedy(settings: Settings, hub: Hub) -> None:
    """Given a hub that nobody answers for, when a model is fetched, then the error says so and what else to do."""
    hub.shutdown()
    hub.server_close()
    error = failing(settings)
    assert isinstance(error, ModelUnavailable)
    assert "see to the network and try again, or put the model into MODELS_DIR/mine" in error.message


def test_a_withdrawn_repository_is_told_with_the_remedy(settings: Settings, hub: Hub) -> None:
    """Given an id that the hub does not know, when a model is fetched, then the error names MODEL_SOURCES."""
    error = failing(settings, replace(MODEL, source="hub:someone/withdrawn"))
    assert "the hub has no someone/withdrawn" in error.message
    assert "MODEL_SOURCES=mine=hub:..." in error.message


def test_a_disk_too_small_is_told_before_anything_is_fetched(
    settings: Settings, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given less free space than the model takes, when it is fetched, then StorageFull, and nothing was sent."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1000, 990, 10))
    error = failing(settings)
    assert isinstance(error, StorageFull)
    assert "the disk of MODELS_DIR is full; free 0.0 GB there and try again" in error.message
    assert hub.fetched == []


def test_a_disk_that_fills_up_is_told_the_same_way(
    settings: Settings, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a disk that fills up midway, when a model is fetched, then StorageFull; with room again it is fetched."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as during:
        during.setattr("huggingface_hub.file_download._chmod_and_move", full)
        assert isinstance(failing(settings), StorageFull)
    Downloads(settings).fetch(MODEL, silent)
    assert MODEL.place(settings.models_dir)


@pytest.mark.parametrize(
    ("different", "reason"),
    [({"allow_downloads": False}, "ALLOW_DOWNLOADS=true"), ({"hf_hub_offline": True}, "HF_HUB_OFFLINE is set")],
)
def test_without_leave_nothing_is_asked_of_the_hub(
    settings: Settings, hub: Hub, different: dict[str, bool], reason: str
) -> None:
    """Given downloads not allowed, or HF_HUB_OFFLINE, when a model is wanted, then the reason, and no request."""
    forbidden = replace(settings, **different)  # type: ignore[arg-type]  # both are of type bool
    cache = CheckpointCache(forbidden, Catalogue({"mine": MODEL}, "mine"), CPU, PROFILE)
    cache.fetch("mine", silent)
    assert hub.fetched == []
    assert reason in cache.missing()["mine"]
    with pytest.raises(ModelUnavailable, match=reason):
        cache.get("mine", FULL, ())
