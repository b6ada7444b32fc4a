"""Models found by themselves: A1111's tree, ComfyUI's, our own, a hub's cache, links, odd names."""

import json
import os
import pickle
import threading
from collections.abc import Mapping

import pytest

from shared.catalogue.facts_cache import FILE_NAME, FactsCache
from shared.catalogue.library import Library
from shared.catalogue.models import Model
from shared.catalogue.recognition import recognise
from shared.catalogue.scan import Root, scan
from shared.settings import Settings
from tests.shared.catalogue.small_files import CONTROLNET, EMBEDDING, LORA, UNET, UPSCALER, VAE, checkpoint, write
from tests.shared.catalogue.test_folder import UNET as UNET_CONFIG
from tests.shared.catalogue.test_folder import write_json
from tests.shared.catalogue.test_headers import archive

A1111 = {"checkpoint": "Stable-diffusion", "vae": "VAE", "lora": "Lora", "embedding": "embeddings",
         "controlnet": "ControlNet", "upscaler": "ESRGAN", "tiny-vae": "VAE-approx"}  # fmt: skip
COMFYUI = {"checkpoint": "checkpoints", "vae": "vae", "lora": "loras", "embedding": "embeddings",
           "controlnet": "controlnet", "upscaler": "upscale_models", "tiny-vae": "vae_approx",
           "denoiser": "diffusion_models"}  # fmt: skip
MODELS = ("checkpoint", "denoiser")
SHAPES: dict[str, Mapping[str, tuple[int, ...]]] = {
    "checkpoint": checkpoint("sd1"), "vae": VAE, "lora": LORA, "embedding": EMBEDDING, "controlnet": CONTROLNET,
    "upscaler": UPSCALER, "tiny-vae": {"decoder.layers.0.weight": (4, 4, 3, 3)},
    # without the prefix that it has within a checkpoint
    "denoiser": {
        name.removeprefix(UNET): shape for name, shape in checkpoint("sd1").items() if name.startswith(UNET)
    },
}  # fmt: skip


@pytest.fixture
def models_dir(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def nothing_bundled(monkeypatch):
    """The files that these tests count are their own."""
    monkeypatch.setattr("shared.catalogue.library.BUNDLED", ())


@pytest.fixture
def library(models_dir, tmp_path):
    """A library over MODELS_DIR and whatever else is named; each call is a new start."""

    def start(*extra, **settings):
        return Library(
            Settings(
                models_dir=models_dir,
                extra_models_dirs=tuple(map(str, extra)),
                compile_cache_dir=tmp_path / "cache",
                **settings,
            )
        )

    return start


def new(library) -> dict[str, Model]:
    """The models that no entry has, by name."""
    return {model.name: model for model in library.catalogue if model.source.startswith("found:")}


def write_folder(folder, index=True):
    if index:
        write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    write_json(folder / "unet" / "config.json", UNET_CONFIG)
    write_json(folder / "text_encoder" / "config.json", {"hidden_size": 768})
    for part in ("unet", "vae", "text_encoder"):
        name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        write(folder / part / f"{name}.fp16.safetensors", {"w": (2, 2)})
    return folder


@pytest.mark.parametrize("tree", [A1111, COMFYUI], ids=["A1111", "ComfyUI"])
def test_the_trees_of_other_programs_are_read(library, models_dir, tree):
    """Given the folder of another program, when looked through, then models are models, and the rest is what it is."""
    for kind, folder in tree.items():
        write(models_dir / folder / "sub folder" / f"a {kind}.safetensors", SHAPES[kind])
    looked = library()
    models = new(looked)
    assert set(models) == {f"a {kind}" for kind in tree if kind in MODELS}
    model = models["a checkpoint"]
    assert (model.family, model.configs, model.native_size, model.why_not) == ("sd1", ("v1-inference.yaml",), 512, "")
    assert model.shown == f"MODELS_DIR/{tree['checkpoint']}/sub folder/a checkpoint.safetensors"
    assert {(other.name, other.kind) for other in looked.catalogue.others} == {
        (f"a {kind}", kind) for kind in tree if kind not in MODELS
    }
    if "denoiser" in tree:
        alone = models["a denoiser"]
        assert alone.shown == "MODELS_DIR/diffusion_models/sub folder/a denoiser.safetensors"
        assert (alone.family, alone.why_not) == ("sd1", "")
        assert alone.donors == {"VAE": model.path, "text encoder": model.path}


@pytest.mark.parametrize("name", ["two words", "日本語のモデル", "модель", "naïve 🙂", "v1.5 [best] (final)", "a'b\"c"])
def test_names_of_any_script_can_be_asked_for(library, models_dir, name):
    """Given a file name with spaces, signs or other letters, when looked through, then the stem is the name."""
    write(models_dir / f"{name}.safetensors", checkpoint("sd1"))
    catalogue = library().catalogue
    for asked in (name, f"{name}.safetensors"):
        found = catalogue.find(asked)
        assert found is not None
        assert found.name == name


def test_names_that_no_text_can_hold_are_made_printable(library, models_dir):
    """Given bytes that are no UTF-8 and signs that end lines, when looked through, then the name is plain text."""
    write(models_dir / os.fsdecode(b"caf\xe9.safetensors"), checkpoint("sd1"))
    write(models_dir / "two\nlines.safetensors", checkpoint("sd1"))
    models = new(library())
    assert set(models) == {"caf?", "two_lines"}
    assert all(json.dumps(name).encode() for name in models)


def test_letters_that_a_file_system_took_apart_are_found_as_typed(library, models_dir):
    """Given a name in decomposed Unicode, when asked for in composed letters, then it is the same model."""
    write(models_dir / "cafe\u0301.safetensors", checkpoint("sd1"))
    assert library().catalogue.find("caf\u00e9") is not None


def test_two_files_of_one_name_are_both_reachable(library, models_dir, tmp_path):
    """Given one name in four places, when looked through, then the first has the stem, and each has a name."""
    for place in ("x.safetensors", "a/x.safetensors", "b/x.ckpt.safetensors", "a/x"):
        if place == "a/x":
            write_folder(models_dir / place)
        else:
            write(models_dir / place, checkpoint("sd1"))
    extra = tmp_path / "disk" / "more"
    write(extra / "x.safetensors", checkpoint("sd2"))
    catalogue = library(extra).catalogue
    asked = {name: catalogue.find(name) for name in ("x", "a/x", "x.ckpt", "a/x.safetensors", "more/x")}
    assert {name: model and model.shown for name, model in asked.items()} == {
        "x": "MODELS_DIR/x.safetensors",
        "a/x": "MODELS_DIR/a/x.safetensors",
        "x.ckpt": "MODELS_DIR/b/x.ckpt.safetensors",
        "a/x.safetensors": "MODELS_DIR/a/x.safetensors",
        "more/x": "more/x.safetensors",
    }
    assert {model.shown for model in catalogue if model.shown} >= {"MODELS_DIR/a/x"}


def test_folders_of_diffusers_are_models(library, models_dir):
    """Given folders with variant files, in a hub's cache, and without an index, then each is found once, and judged."""
    write_folder(models_dir / "mine")
    hub = models_dir / "hub" / "models--someone--their-model"
    for revision in ("aaa", "bbb"):
        write_folder(hub / "snapshots" / revision)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("aaa\n")
    write_folder(models_dir / "no index", index=False)
    models = new(library())
    assert set(models) == {"mine", "their-model", "no index"}
    assert models["their-model"].aliases[0].endswith("snapshots/aaa")
    assert "someone/their-model" in models["their-model"].aliases
    assert (models["mine"].family, models["mine"].why_not, models["mine"].size_bytes > 0) == ("sd1", "", True)
    assert models["no index"].why_not == (
        "The model 'no index' cannot be used: MODELS_DIR/no index has no model_index.json: fetch the whole model again,"
        " with all its folders."
    )


def test_links_to_models_are_models_and_nothing_else_is_told(library, models_dir, tmp_path):
    """Given links to a model, to something else, to nowhere and in a circle, then the model is listed, and no more."""
    outside = tmp_path / "outside"
    write(outside / "real.safetensors", checkpoint("sd1"))
    (outside / "secret.txt").write_text("a secret of this machine")
    write(outside / "secret.safetensors", {"layer1.weight": (1,), "layer2.weight": (1,)})
    links = {"good": "real.safetensors", "secret": "secret.txt", "other": "secret.safetensors", "gone": "nothing"}
    for name, target in links.items():
        (models_dir / f"{name}.safetensors").symlink_to(outside / target)
    (models_dir / "circle").symlink_to(models_dir)
    os.mkfifo(models_dir / "pipe.safetensors")
    (models_dir / "device.safetensors").symlink_to("/dev/zero")
    catalogue = library().catalogue
    assert set(new(library())) == {"good"}
    assert catalogue.others == ()


def test_a_folder_with_very_many_files_takes_nothing_from_the_next(library, models_dir, tmp_path, monkeypatch):
    """Given more files in MODELS_DIR than are looked at, when an extra folder is named, then of each the first are
    found."""
    monkeypatch.setattr("shared.catalogue.scan.MOST_ENTRIES", 3)
    for folder in (models_dir, tmp_path / "extra"):
        for number in range(5):
            write(folder / f"{folder.name} {number}.safetensors", checkpoint("sd1"))
    assert set(new(library(tmp_path / "extra"))) == {
        f"{name} {number}" for name in ("models", "extra") for number in range(3)
    }


def test_a_linked_folder_is_looked_through_once(library, models_dir, tmp_path):
    """Given one folder linked twice, when looked through, then its models are listed once."""
    write(tmp_path / "disk" / "m.safetensors", checkpoint("sd1"))
    for name in ("one", "two"):
        (models_dir / name).symlink_to(tmp_path / "disk")
    assert new(library())["m"].shown == "MODELS_DIR/one/m.safetensors"
    assert len(new(library())) == 1


@pytest.mark.parametrize("where", ["", "Stable-diffusion/", "checkpoints/good ones/"])
def test_a_published_name_is_its_entry_anywhere(library, models_dir, where):
    """Given the published file of an entry in any folder, when looked through, then it is that entry's."""
    write(models_dir / f"{where}v1-5-pruned-emaonly.safetensors", checkpoint("sd1"))
    looked = library(default_model="sd15")
    assert new(looked) == {}
    assert looked.catalogue.default.shown == f"MODELS_DIR/{where}v1-5-pruned-emaonly.safetensors"
    assert looked.catalogue.default.place(models_dir) == models_dir / f"{where}v1-5-pruned-emaonly.safetensors"


def test_a_hub_s_cache_serves_the_entry_of_that_repository(library, models_dir):
    """Given the repository of an entry in a hub's cache, when looked through, then it is that entry's."""
    write_folder(models_dir / "models--CompVis--stable-diffusion-v1-4" / "snapshots" / "abc")
    looked = library()
    entry = looked.catalogue.find("sd14")
    assert entry is not None
    assert entry.path == models_dir / "models--CompVis--stable-diffusion-v1-4" / "snapshots" / "abc"
    assert new(looked) == {}


def test_models_toml_goes_before_what_was_found(library, models_dir):
    """Given entries for found files, when looked through, then they have the entry's name, and its family is judged."""
    write(models_dir / "sub" / "one.safetensors", checkpoint("sd1"))
    write(models_dir / "sub" / "two.safetensors", checkpoint("sd2"))
    entry = 'label = "{0}"\naliases = []\nsource = "local:sub/{0}.safetensors"\nfamily = "sd1"\n'
    entry += 'configs = ["v1-inference.yaml"]\nmax_size = 768\n'
    (models_dir / "models.toml").write_text("".join(f"[my-{name}]\n{entry.format(name)}" for name in ("one", "two")))
    looked = library(default_model="my-one")
    assert new(looked) == {}
    one, two = looked.catalogue.default, looked.catalogue.find("my-two")
    assert (one.max_size, one.shown, one.dtype, one.why_not) == (768, "MODELS_DIR/sub/one.safetensors", "float16", "")
    assert two is not None
    assert two.why_not == (
        "The model 'my-two' cannot be used: MODELS_DIR/sub/two.safetensors is of the family sd2, but the entry says"
        ' sd1: put family = "sd2" into it.'
    )


def test_a_source_outside_of_all_folders_is_looked_at_alone(library, models_dir, tmp_path):
    """Given an entry for a file elsewhere, when looked through, then it is known, and nothing of its neighbours."""
    for name in ("one", "two"):
        write(tmp_path / "elsewhere" / f"{name}.safetensors", checkpoint("sd1"))
    looked = library(default_model="sd15", model_sources=(f"sd15=local:{tmp_path}/elsewhere/one.safetensors",))
    assert (looked.catalogue.default.dtype, looked.catalogue.default.shown) == ("float16", "one.safetensors")
    assert new(looked) == {}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is cut short or no safetensors file: fetch it again"),
        ((100 * 2**20).to_bytes(8, "little"), "is cut short"),
        (b"<html>not found</html>", "is cut short"),
    ],
)
def test_a_broken_file_is_listed_with_the_reason(library, models_dir, content, sentence):
    """Given a file that is cut or something else, when looked through, then it is listed, and says why it cannot be."""
    (models_dir / "cut.safetensors").write_bytes(content)
    beside = {"Lora": "lora", "VAE-approx": "tiny-vae", "vae": "vae"}
    for folder in beside:
        (models_dir / folder).mkdir()
        (models_dir / folder / f"cut {folder}.safetensors").write_bytes(content)
    looked = library()
    assert list(new(looked)) == ["cut"]
    assert sentence in new(looked)["cut"].why_not
    others = {other.name: other for other in looked.catalogue.others}
    assert {name: other.kind for name, other in others.items()} == {f"cut {name}": beside[name] for name in beside}
    assert all(sentence in other.unusable for other in others.values())


def test_a_bin_that_would_run_code_is_listed_where_its_name_says_what_it_is(library, models_dir):
    """Given pickles under the names that diffusers gives to LoRAs and embeddings, when opening them would run code,
    then they are listed with that reason; other files that end so, and links, are not."""
    hostile = archive(pickle.dumps({"w": os.getcwd}))
    for name in ("Lora/x/pytorch_lora_weights.bin", "y/learned_embeds.bin", "z/firmware.bin"):
        (models_dir / name).parent.mkdir(parents=True)
        (models_dir / name).write_bytes(hostile)
    (models_dir / "linked").mkdir()
    (models_dir / "linked" / "learned_embeds.bin").symlink_to(models_dir / "z" / "firmware.bin")
    looked = library()
    assert new(looked) == {}
    assert {(other.shown, other.kind) for other in looked.catalogue.others} == {
        ("MODELS_DIR/Lora/x/pytorch_lora_weights.bin", "lora"), ("MODELS_DIR/y/learned_embeds.bin", "embedding"),
    }  # fmt: skip
    assert all("would run code" in other.unusable for other in looked.catalogue.others)


@pytest.mark.parametrize(("family", "name"), [("sdxl-refiner", "Stable Diffusion XL refiner"), ("sd1", "5 input")])
def test_what_cannot_be_drawn_is_listed_with_the_reason(library, models_dir, family, name):
    """Given a refiner or a model of depth, when looked through, then it is listed, and says what it is."""
    write(models_dir / "m.safetensors", checkpoint(family, channels=5))
    model = new(library())["m"]
    assert name in model.why_not
    assert model.family == family
    assert model.facts.size_step == 8


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_an_inpainting_model_is_a_model(library, models_dir, family):
    """Given nine input channels, when looked through, then it can be drawn with, and is said to be told the mask."""
    write(models_dir / "m.safetensors", checkpoint(family, channels=9))
    write(models_dir / "plain.safetensors", checkpoint(family))
    found = new(library())
    assert (found["m"].why_not, found["m"].inpainting, found["plain"].inpainting) == ("", True, False)


def test_missing_parts_are_taken_from_others(library, models_dir):
    """Given a UNet without VAE and text encoder, when others have them, then these are chosen; alone it says so."""
    alone = {name: shape for name, shape in checkpoint("sd1").items() if name.startswith(UNET)}
    write(models_dir / "unet" / "alone.safetensors", alone)
    assert "has no VAE and no text encoder, and no other" in new(library())["alone"].why_not
    write(models_dir / "whole.safetensors", checkpoint("sd1"))
    write(models_dir / "other family.safetensors", checkpoint("sd2"))
    whole = models_dir / "whole.safetensors"
    assert new(library())["alone"].donors == {"VAE": whole, "text encoder": whole}
    beside = write(models_dir / "unet" / "alone.vae.safetensors", VAE)
    alone_now = new(library())["alone"]
    assert (alone_now.why_not, alone_now.donors["VAE"]) == ("", beside)


@pytest.mark.parametrize(("family", "vae"), [("sd1", "vae-ft-mse"), ("sdxl", "sdxl_vae")])
def test_a_vae_of_the_other_kind_steps_in_nowhere(library, models_dir, family, vae):
    """Given a checkpoint without a VAE, when VAEs of XL and of the others are there, then one of its kind steps in."""
    parts = {name: shape for name, shape in checkpoint(family).items() if not name.startswith("first_stage_model.")}
    write(models_dir / "m.safetensors", parts)
    for name in ("sdxl_vae", "vae-ft-mse"):
        write(models_dir / "vae" / f"{name}.safetensors", VAE)
    assert new(library())["m"].donors == {"VAE": models_dir / "vae" / f"{vae}.safetensors"}


@pytest.mark.parametrize(("marks", "config"), [({}, "sd_xl_base.yaml"), ({"v_pred": (0,)}, "sd_xl_v.yaml")])
def test_a_model_of_xl_is_found(library, models_dir, marks, config):
    """Given a file of XL, when looked through, then it can be drawn with, at the sizes of its family."""
    write(models_dir / "m.safetensors", checkpoint("sdxl", **marks))
    model = new(library())["m"]
    assert (model.family, model.configs, model.why_not) == ("sdxl", (config,), "")
    assert (model.native_size, model.largest_square) == (1024, 2048)


@pytest.mark.parametrize(
    ("name", "metadata", "native", "largest"),
    [("m", None, 512, 1024), ("m 768", None, 768, 1024), ("m", {"modelspec.resolution": "1536x1536"}, 1536, 1536),
     ("m1768", None, 512, 1024)],
)  # fmt: skip
def test_the_native_size_is_what_file_or_name_say(library, models_dir, name, metadata, native, largest):
    """Given a size in metadata or name, when looked through, then it is the native size."""
    write(models_dir / f"{name}.safetensors", checkpoint("sd1"), metadata=metadata)
    model = new(library())[name]
    assert (model.native_size, model.largest_square) == (native, largest)


def test_the_second_look_reads_no_file(library, models_dir, tmp_path, monkeypatch):
    """Given a scan before, when started again, then no header is read, until a file changes or a yaml comes beside."""
    for number in range(3):
        write(models_dir / f"{number}.safetensors", checkpoint("sd1"))
    library()
    looked_at = []

    def noted(*given):
        looked_at.append(given)
        return recognise(*given)

    monkeypatch.setattr("shared.catalogue.scan.recognise", noted)
    assert len(new(library())) == 3
    assert looked_at == []
    (models_dir / "1.yaml").write_text('parameterization: "v"\n')
    models = new(library())
    assert (len(looked_at), models["1"].prediction, models["0"].prediction) == (1, "v_prediction", "")
    (models_dir / "2.safetensors").unlink()
    write(models_dir / "0.safetensors", checkpoint("sd2"))
    assert new(library())["0"].family == "sd2"
    kept = json.loads((tmp_path / "cache" / "models" / FILE_NAME).read_text())["files"]
    assert {os.path.basename(path) for path in kept} == {"0.safetensors", "1.safetensors"}  # noqa: PTH119


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 0, "files": {"a": 1}}', b'{"version": 1, "files": [1]}'])
def test_a_cache_that_cannot_be_read_is_made_anew(library, models_dir, tmp_path, content):
    """Given a broken cache, or another version's, when looked through, then everything is found all the same."""
    write(models_dir / "m.safetensors", checkpoint("sd1"))
    (tmp_path / "cache" / "models").mkdir(parents=True)
    (tmp_path / "cache" / "models" / FILE_NAME).write_bytes(content)
    assert list(new(library())) == ["m"]


def test_a_cache_that_cannot_be_written_is_done_without(models_dir, tmp_path):
    """Given no folder for the cache, when looked through, then everything is found, and a line says what is missing."""
    write(models_dir / "m.safetensors", checkpoint("sd1"))
    (tmp_path / "file").touch()
    cache = FactsCache(tmp_path / "file")
    assert [each.name for each in scan([Root(models_dir, "MODELS_DIR")], cache)] == ["m"]
    cache.write()


def test_what_changes_is_noticed_by_looking_again(library, models_dir, caplog):
    """Given a running library, when files come and go and models.toml breaks, then each look tells, or keeps."""
    looked = library()
    assert not looked.look()
    write(models_dir / "new.safetensors", checkpoint("sd1"))
    assert looked.look()
    assert looked.catalogue.find("new") is not None
    (models_dir / "models.toml").write_text("[broken")
    (models_dir / "new.safetensors").unlink()
    assert not looked.look()
    assert "models.toml: it cannot be read" in caplog.text
    (models_dir / "models.toml").unlink()
    assert looked.look()
    assert looked.catalogue.find("new") is None


def test_an_older_look_does_not_undo_a_newer_one(library, models_dir, monkeypatch):
    """Given a look that has seen the folders and is not done, when a file comes and another look begins, then the file
    is found in the end."""
    looked = library()
    seen, newer = threading.Event(), threading.Event()

    def slow(roots, cache):
        found = scan(roots, cache)
        if not seen.is_set():
            seen.set()
            newer.wait(0.5)  # the other look is done by then, where it need not wait for this one
        return found

    def look_again():
        looked.look()
        newer.set()

    monkeypatch.setattr("shared.catalogue.library.scan", slow)
    looks = [threading.Thread(target=looked.look), threading.Thread(target=look_again)]
    looks[0].start()
    assert seen.wait(60)
    write(models_dir / "new.safetensors", checkpoint("sd1"))
    looks[1].start()
    for each in looks:
        each.join()

    assert looked.catalogue.find("new") is not None


def test_a_hash_is_a_name_once_it_is_known(library, models_dir):
    """Given a file whose hash was counted, when looked through, then short hash, hash and title name it."""
    file = write(models_dir / "sub" / "m.safetensors", checkpoint("sd1"))
    looked = library()
    (kept,) = [each for each in looked.cache._known.items() if each[0] == str(file)]
    looked.cache.keep_hash(file, kept[1].stamp, "0123456789abcdef" * 4)
    assert looked.look()
    for name in ("0123456789", "0123456789abcdef" * 4, "sub/m.safetensors [0123456789]", "m", "sub/m"):
        found = looked.catalogue.find(name)
        assert found is not None, name
        assert found.name == "m"


def test_a_file_that_diffusers_named_has_the_name_of_its_folder(library, models_dir):
    """Given ControlNets as diffusers lays them out, in folders or in a hub's cache, when they are found, then each has
    the name of its folder or its repository."""
    snapshot = models_dir / "models--someone--sd-controlnet-depth" / "snapshots" / "abc"
    for place in (models_dir / "ControlNet" / "canny", models_dir / "ControlNet" / "scribble", snapshot):
        write(place / "diffusion_pytorch_model.safetensors", CONTROLNET)

    assert {other.name for other in library().catalogue.others} == {"canny", "scribble", "sd-controlnet-depth"}


def test_the_bundled_controlnet_is_found(monkeypatch, library):
    """Given the demo model's ControlNet, when a worker looks for files, then it is among them, for its family, and for
    texts as wide as those of the demo model."""
    monkeypatch.undo()

    catalogue = library().catalogue
    found = catalogue.find_other("controlnet", "demo-outline")

    assert found is not None
    assert (found.family, found.unusable) == ("sd1", "")
    assert found.text_width == catalogue.find("demo").text_width == 128
