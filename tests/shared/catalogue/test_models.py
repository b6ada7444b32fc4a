"""The model catalogue: what stands in the file, and what must not."""

import pytest

from shared.catalogue.entries import catalogue_for, load_catalogue
from shared.catalogue.families import FAMILY_FACTS
from shared.catalogue.models import Catalogue, Model
from shared.settings import Settings

GOOD = {
    "label": '"A model"',
    "aliases": '["alias"]',
    "source": '"hub:owner/name"',
    "family": '"sd1"',
    "configs": '["v1-inference.yaml"]',
    "native_size": "512",
    "max_size": "512",
}


def found(catalogue: Catalogue, name: str) -> Model:
    model = catalogue.find(name)
    assert model is not None
    return model


@pytest.fixture
def write(tmp_path):
    """A catalogue file with one entry a keyword; each overrides lines of a good one, None leaves a line out."""

    def make(**entries):
        text = ""
        for name, changes in entries.items():
            lines = GOOD | {"aliases": "[]"} | changes
            text += f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items() if value is not None)
        file = tmp_path / "models.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return make


def test_the_catalogue_of_this_repository_is_sound():
    """Given our own file, when read, then it has the documented names, and the limits of each."""
    catalogue = load_catalogue("demo")

    assert {model.name: model.largest_square for model in catalogue} == {
        "demo": 512, "sd14": 1024, "sd15": 1024, "sd21": 1024, "sd21v": 1024, "sdxl": 2048, "ldm": 1024,
    }  # fmt: skip
    assert {model.family for model in catalogue} <= set(FAMILY_FACTS)
    for name in ("default", "demo", "sd14", "sd1.4", "sd15", "sd21", "sd2.1", "sd21v", "sd2.1v", "sdxl", "ldm"):
        assert name in catalogue.choices()
        assert catalogue.find(name) is not None


def test_default_is_the_operator_s_choice():
    """Given DEFAULT_MODEL by name or alias, when `default` is asked for, then it is that model."""
    assert found(load_catalogue("sd14"), "default").name == "sd14"
    assert found(load_catalogue("sd2.1v"), "default").name == "sd21v"


@pytest.mark.parametrize("name", ["", "nope", "DEMO", "default "])
def test_an_unknown_name_is_nobody(name):
    """Given another name, when asked for, then there is no model: never the default instead."""
    assert load_catalogue("demo").find(name) is None


@pytest.mark.parametrize("default", ["nope", "", "default"])
def test_a_default_that_names_no_model_is_refused(default):
    """Given a wrong DEFAULT_MODEL, when the catalogue is read, then the message names it and the choices."""
    with pytest.raises(ValueError, match=r"DEFAULT_MODEL.*demo, sd14"):
        load_catalogue(default)


@pytest.mark.parametrize("key", [key for key in GOOD if key not in ("native_size", "max_size")])
def test_a_missing_key_is_named(write, key):
    """Given an entry without one key, when read, then the message names the entry and the key."""
    with pytest.raises(ValueError, match=rf"\[m\] lacks '{key}'"):
        load_catalogue("m", write(m={key: None}))


def test_an_entry_without_sizes_has_those_of_its_family(write):
    """Given an entry that states no sizes, when read, then the model has those of its family."""
    model = load_catalogue("m", write(m={"native_size": None, "max_size": None})).default

    assert (model.native_size, model.largest_square, model.facts) == (512, 1024, FAMILY_FACTS["sd1"])


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("family", '"sd9"', "family must be one of sd1, sd2"),
        ("family", "1", "family must be of type str"),
        ("label", "5", "label must be of type str"),
        ("source", '"/models/x"', "source must start with bundled:, local:, hub:"),
        ("source", "[]", "source must be of type str"),
        ("aliases", '"tiny"', "aliases must be of type list"),
        ("aliases", "[1]", "aliases must be a list of names"),
        ("configs", '"v1-inference.yaml"', "configs must be of type list"),
        ("configs", "[]", "configs must name at least one file"),
        ("configs", '["v9.yaml"]', "configs must begin with one of v1-inference.yaml, v1-inference-v.yaml"),
        ("configs", '["v2-inference.yaml"]', "configs must begin with one of v1-inference.yaml, v1-inference-v.yaml"),
        ("prediction", '"v"', "prediction must be one of epsilon, v_prediction"),
        ("prediction", "1", "prediction must be of type str"),
        ("weights", '"best"', "weights must be one of plain, ema"),
        ("files", '["model.bin"]', "files must end with .safetensors or .ckpt"),
        ("files", '"model.ckpt"', "files must be of type list"),
        ("native_size", '"512"', "native_size must be of type int"),
        ("native_size", "true", "native_size must be of type int"),
        ("native_size", "500", "native_size must be a multiple of 8"),
        ("native_size", "56", "native_size must be a multiple of 8 from 64"),
        ("native_size", "520", "native_size must be a multiple of 8 from 64 to max_size"),
        ("max_size", "512.5", "max_size must be of type int"),
        ("max_size", "-1024", "max_size must be 64 or more"),
        ("one_picture_size", "511", "one_picture_size must be native_size or more"),
        ("one_picture_size", "true", "one_picture_size must be of type int"),
        ("hires", '"always"', "hires must be one of auto"),
        ("hires", "true", "hires must be of type str"),
        ("hires_strength", "0", "hires_strength must be a number from 0.01 to 1"),
    ],
)
def test_a_wrong_value_is_named(write, key, value, says):
    """Given an entry with a wrong value, when read, then the message names entry and key."""
    with pytest.raises(ValueError, match=rf"models.toml: \[m\] {says}"):
        load_catalogue("m", write(m={key: value}))


@pytest.mark.parametrize(
    "entries",
    [
        {"a": {"aliases": '["x"]'}, "b": {"aliases": '["x"]'}},
        {"a": {"aliases": '["b"]'}, "b": {}},
        {"a": {}, "b": {"aliases": '["a"]'}},
        {"a": {"aliases": '["default"]'}},
        {"default": {}, "a": {}},
    ],
    ids=["two aliases", "alias before name", "alias after name", "reserved alias", "reserved name"],
)
def test_a_name_means_one_model(write, entries):
    """Given a name that stands for two models or is reserved, when read, then the message says so."""
    with pytest.raises(ValueError, match="is used twice or reserved"):
        load_catalogue("a", write(**entries))


def test_a_key_outside_of_any_entry_is_refused(tmp_path):
    """Given a stray line, when read, then the message names it."""
    file = tmp_path / "models.toml"
    file.write_text('stray = "x"\n')

    with pytest.raises(ValueError, match="'stray' stands outside"):
        load_catalogue("m", file)


def test_weights_are_looked_for_in_the_models_folder_first(write, tmp_path):
    """Given weights under MODELS_DIR, when the folder is asked for, then it is found; without any there is none."""
    model = found(load_catalogue("m", write(m={})), "m")
    assert model.place(tmp_path) is None
    (tmp_path / "m").mkdir()
    assert model.place(tmp_path) is None, "an empty folder is no model"
    (tmp_path / "m" / "model_index.json").write_text("{}")

    assert model.place(tmp_path) == tmp_path / "m"
    assert model.hub_id == "owner/name"


@pytest.mark.parametrize("name", ["m.safetensors", "m.ckpt", "published-name.ckpt"])
def test_a_single_file_is_a_model_too(write, tmp_path, name):
    """Given a file with the model's name or a published one in MODELS_DIR, when looked for, then it is found."""
    catalogue = load_catalogue("m", write(m={"files": '["published-name.ckpt"]'}))
    (tmp_path / name).touch()

    assert found(catalogue, "m").place(tmp_path) == tmp_path / name
    assert found(catalogue, "published-name.ckpt").name == "m", "a published name is a name to ask by"


@pytest.mark.parametrize("inside", [True, False])
def test_a_local_source_is_a_file_or_folder_of_any_name(write, tmp_path, inside):
    """Given a source in MODELS_DIR or elsewhere, when looked for, then it goes before what has the model's name."""
    models_dir = tmp_path / "models"
    file = (models_dir if inside else tmp_path) / "mine.safetensors"
    source = "mine.safetensors" if inside else str(file)
    model = found(load_catalogue("m", write(m={"source": f'"local:{source}"'})), "m")
    models_dir.mkdir()
    assert (model.place(models_dir), model.local_source, model.hub_id) == (None, source, None)
    (models_dir / "m.ckpt").touch()
    file.touch()

    assert model.place(models_dir) == file


def test_an_operator_adds_models_in_the_models_folder(write, tmp_path):
    """Given a models.toml in MODELS_DIR, when the catalogue is made, then its models are there, before ours."""
    write(mine={"label": '"Mine"'}, sd15={"label": '"Another"'})
    catalogue = catalogue_for(Settings(models_dir=tmp_path, default_model="mine"))

    assert catalogue.default.label == "Mine"
    assert found(catalogue, "sd15").label == "Another"
    assert catalogue.find("demo") is not None


def test_a_source_can_be_set_from_the_environment(tmp_path):
    """Given MODEL_SOURCES, when the catalogue is made, then those entries come from there, the others are as before."""
    sources = ("sd21=hub:me/mirror", "sd14=local:/disk/one.ckpt")
    catalogue = catalogue_for(Settings(models_dir=tmp_path, model_sources=sources))

    assert found(catalogue, "sd2.1").hub_id == "me/mirror"
    assert found(catalogue, "sd14").local_source == "/disk/one.ckpt"
    assert found(catalogue, "sd15").hub_id == "stable-diffusion-v1-5/stable-diffusion-v1-5"


@pytest.mark.parametrize("override", ["sd99=hub:me/mirror", "sd15", "sd15=me/mirror", "=hub:a/b"])
def test_a_source_that_cannot_be_used_is_refused(tmp_path, override):
    """Given an override of nobody, or without a kind, when the catalogue is made, then the message shows it."""
    with pytest.raises(ValueError, match=f"MODEL_SOURCES: '{override}' is not like sd15=hub:"):
        catalogue_for(Settings(models_dir=tmp_path, model_sources=(override,)))


def test_a_file_that_is_no_toml_is_refused(tmp_path):
    """Given a broken models.toml in MODELS_DIR, when the catalogue is made, then the message names the file."""
    (tmp_path / "models.toml").write_text("[mine")
    with pytest.raises(ValueError, match=r"models\.toml: it cannot be read"):
        catalogue_for(Settings(models_dir=tmp_path))


def test_a_catalogue_without_models_has_no_default():
    """Given no model at all, when a catalogue is made, then it is refused."""
    with pytest.raises(ValueError, match="DEFAULT_MODEL"):
        Catalogue({}, "demo")


def test_the_operator_s_catalogue_may_have_a_byte_order_mark(tmp_path, write):
    """Given models.toml as Notepad saves it, when read, then its entries are there."""
    file = write(mine={})
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert found(catalogue_for(Settings(models_dir=tmp_path)), "mine").label == "A model"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_catalogue_in_utf_16_is_named_as_such(tmp_path, write, encoding):
    """Given models.toml in UTF-16, when read, then the error says so and what to do."""
    file = write(mine={})
    file.write_bytes(file.read_text().encode(encoding))
    with pytest.raises(ValueError, match=r"models\.toml: it .* UTF-16; save it as UTF-8"):
        catalogue_for(Settings(models_dir=tmp_path))


def test_a_source_may_begin_at_home(tmp_path, monkeypatch):
    """Given a source under ~, when its weights are looked for, then they are found in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.safetensors").touch()
    settings = Settings(models_dir=tmp_path / "models", model_sources=("sd15=local:~/mine.safetensors",))
    assert found(catalogue_for(settings), "sd15").place(settings.models_dir) == tmp_path / "mine.safetensors"
