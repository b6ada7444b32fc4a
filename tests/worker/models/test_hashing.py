"""Hashes of models' files: counted in the background, kept, and only of what stayed the same."""

import hashlib
from pathlib import Path

import pytest
from filelock import FileLock

from shared.catalogue import kinds
from shared.catalogue.controlnets import find_controlnet
from shared.catalogue.library import Library
from shared.settings import Settings
from tests.shared.catalogue.small_files import CONTROLNET, LORA, UPSCALER, VAE, checkpoint, write
from worker.models.hashing import ModelHashes

TINY = {"encoder.layers.0.weight": (4, 3, 3, 3), "decoder.layers.1.weight": (4, 4, 3, 3)}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr("shared.catalogue.library.BUNDLED", ())
    for name in ("a", "b", "c"):
        write(tmp_path / "models" / f"{name}.safetensors", checkpoint("sd1") | {name: (1,)})
    write(tmp_path / "models" / "lora.safetensors", LORA)
    settings = Settings(models_dir=tmp_path / "models", compile_cache_dir=tmp_path / "cache", default_model="b")
    return Library(settings)


def hashed(library: Library) -> set[str]:
    return {each.name for each in (*library.catalogue, *library.catalogue.others) if each.sha256}


def test_models_in_memory_and_the_default_come_first(library: Library, tmp_path: Path) -> None:
    """Given three models, a LoRA and an upscaler, when hashes are counted one by one, then in that order, the small
    LoRA before the last model, and the upscaler never; they are right, and kept."""
    write(tmp_path / "models" / "upscaler.safetensors", UPSCALER)
    library.look()
    hashes = ModelHashes(library, lambda: ["c"], pause=lambda _: None)
    counted = set[str]()
    for expected in ("c", "b", "lora", "a", None):
        hashes.compute_next()
        counted |= {expected} if expected else set()
        assert hashed(library) == counted
    model = library.catalogue.find("a")
    assert model is not None
    content = (tmp_path / "models" / "a.safetensors").read_bytes()
    assert model.sha256 == hashlib.sha256(content).hexdigest()
    assert library.catalogue.find(model.short_hash) == model
    again = Library(Settings(models_dir=tmp_path / "models", compile_cache_dir=tmp_path / "cache"))
    assert hashed(again) == {"a", "b", "c", "lora"}


def test_whatever_a_request_names_by_a_hash_is_counted(library: Library, tmp_path: Path) -> None:
    """Given a VAE, a tiny decoder and a ControlNet beside the models, when hashes are counted, then each is found by
    its hash, short and whole."""
    beside = {"vae": VAE, "tiny": TINY, "canny": CONTROLNET}
    digests = {}
    for name, tensors in beside.items():
        file = tmp_path / "models" / f"{name}.safetensors"
        write(file, tensors)
        digests[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    library.look()
    hashes = ModelHashes(library, lambda: [], pause=lambda _: None)
    while hashed(library) != {"a", "b", "c", "lora", *beside}:
        before = hashed(library)
        hashes.compute_next()
        assert hashed(library) > before

    def named(digest: str) -> set[str]:
        others = [library.catalogue.find_other(kind, digest) for kind in (kinds.VAE, kinds.TINY_VAE)]
        return {each.name for each in (*others, find_controlnet(library.catalogue, digest)) if each}

    for name, digest in digests.items():
        assert named(digest) == named(digest[:10]) == {name}


def test_one_worker_of_a_machine_counts_and_the_others_learn(library: Library, tmp_path: Path) -> None:
    """Given another worker at work, when it is this one's turn, then it counts nothing, and learns what is known."""
    other = Library(Settings(models_dir=tmp_path / "models", compile_cache_dir=tmp_path / "cache"))
    with FileLock(library.cache_folder / "hashing.lock"):
        ModelHashes(library, lambda: [], pause=lambda _: None).compute_next()
        assert hashed(library) == set()
    ModelHashes(library, lambda: [], pause=lambda _: None).compute_next()
    with FileLock(library.cache_folder / "hashing.lock"):
        ModelHashes(other, lambda: [], pause=lambda _: None).compute_next()
    assert hashed(other) == hashed(library) == {"b"}


def test_a_file_that_changes_meanwhile_has_no_hash(library: Library, tmp_path: Path) -> None:
    """Given a file that is written anew while it is read, then no hash is kept; the next turn has the right one."""
    file = tmp_path / "models" / "b.safetensors"

    def change(_: float) -> None:
        write(file, checkpoint("sd1") | {"changed": (2, 2)})

    ModelHashes(library, lambda: [], pause=change).compute_next()
    assert hashed(library) == set()
    ModelHashes(library, lambda: [], pause=lambda _: None).compute_next()
    assert library.catalogue.default.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_stopping_ends_it_between_two_pieces(library: Library) -> None:
    """Given a worker that stops, when its turn comes, then nothing is counted."""
    hashes = ModelHashes(library, lambda: [])
    hashes.stop()
    hashes.compute_next()
    assert hashed(library) == set()


def test_a_file_that_cannot_be_read_is_left_alone(library: Library) -> None:
    """Given a disk that fails at one file, when its turn is over, then the next turns are of the others."""
    failures = iter([OSError(5, "Input/output error")])

    def fail_once(_seconds: float) -> None:
        if failure := next(failures, None):
            raise failure

    hashes = ModelHashes(library, lambda: [], pause=fail_once)
    for _ in range(4):
        hashes.compute_next()
    assert hashed(library) == {"a", "c", "lora"}
