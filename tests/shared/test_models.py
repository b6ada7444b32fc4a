"""The model catalogue: what stands in the file, and what must not."""

import pytest

from shared.models import FAMILIES, Catalogue, load_catalogue

GOOD = {
    "label": '"A model"',
    "aliases": '["alias"]',
    "source": '"hub:owner/name"',
    "family": '"sd1"',
    "configs": '["v1-inference.yaml"]',
    "native_size": "512",
    "max_size": "512",
}


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
    """Given our own file, when read, then it has the documented names, and limits of 512 and 768."""
    catalogue = load_catalogue("demo")

    assert {model.name: model.max_size for model in catalogue} == {
        "demo": 512, "sd14": 512, "sd15": 512, "sd21": 512, "sd21v": 768,
    }  # fmt: skip
    assert {model.family for model in catalogue} <= set(FAMILIES)
    for name in ("default", "demo", "sd14", "sd1.4", "sd15", "sd21", "sd2.1", "sd21v", "sd2.1v"):
        assert name in catalogue.choices()
        assert catalogue.find(name) is not None


def test_default_is_the_operator_s_choice():
    """Given DEFAULT_MODEL by name or alias, when `default` is asked for, then it is that model."""
    assert load_catalogue("sd14").find("default").name == "sd14"
    assert load_catalogue("sd2.1v").find("default").name == "sd21v"


@pytest.mark.parametrize("name", ["", "nope", "DEMO", "default "])
def test_an_unknown_name_is_nobody(name):
    """Given another name, when asked for, then there is no model: never the default instead."""
    assert load_catalogue("demo").find(name) is None


@pytest.mark.parametrize("default", ["nope", "", "default"])
def test_a_default_that_names_no_model_is_refused(default):
    """Given a wrong DEFAULT_MODEL, when the catalogue is read, then the message names it and the choices."""
    with pytest.raises(ValueError, match=r"DEFAULT_MODEL.*demo, sd14"):
        load_catalogue(default)


@pytest.mark.parametrize("key", list(GOOD))
def test_a_missing_key_is_named(write, key):
    """Given an entry without one key, when read, then the message names the entry and the key."""
    with pytest.raises(ValueError, match=rf"\[m\] lacks '{key}'"):
        load_catalogue("m", write(m={key: None}))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("family", '"sd9"', "family must be one of sd1, sd2"),
        ("family", "1", "family must be of type str"),
        ("label", "5", "label must be of type str"),
        ("source", '"/models/x"', "source must start with bundled: or hub:"),
        ("source", "[]", "source must be of type str"),
        ("aliases", '"tiny"', "aliases must be of type list"),
        ("aliases", "[1]", "aliases must be a list of names"),
        ("configs", '"v1-inference.yaml"', "configs must be of type list"),
        ("configs", "[]", "configs must name at least one file"),
        ("native_size", '"512"', "native_size must be of type int"),
        ("native_size", "true", "native_size must be of type int"),
        ("native_size", "500", "native_size must be a multiple of 8"),
        ("native_size", "56", "native_size must be a multiple of 8 from 64"),
        ("native_size", "520", "native_size must be a multiple of 8 from 64 to max_size"),
        ("max_size", "512.5", "max_size must be of type int"),
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
    model = load_catalogue("m", write(m={})).find("m")
    assert model.folder(tmp_path) is None
    (tmp_path / "m").mkdir()
    assert model.folder(tmp_path) is None, "an empty folder is no model"
    (tmp_path / "m" / "model_index.json").write_text("{}")

    assert model.folder(tmp_path) == tmp_path / "m"
    assert model.hub_id == "owner/name"


def test_a_catalogue_without_models_has_no_default():
    """Given no model at all, when a catalogue is made, then it is refused."""
    with pytest.raises(ValueError, match="DEFAULT_MODEL"):
        Catalogue({}, "demo")
