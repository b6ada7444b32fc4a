"""The environment: every variable read, every wrong value named."""

import os
from dataclasses import fields
from pathlib import Path

import pytest

from shared.settings import DUMMY_API_KEY, Settings, SettingsError, limit_spinning, read_settings

# the file of keys changes another setting, and has tests of its own
NAMES = [field.name for field in fields(Settings) if field.name != "api_keys_file"]
# values other than the default, where a variable takes only certain ones
CHOICES = {
    "log_format": "json",
    "worker_variant": "optimized",
    "log_level": "DEBUG",
    "worker_gpus": "0,1",
    "cpu_backend": "openvino",
    "on_disconnect": "cancel",
    "redis_url": "unix:///run/redis.sock?db=3",
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name.upper(), raising=False)


def other_value(name):
    """A valid text for a variable that differs from its default, and what it is read as."""
    default = getattr(Settings(), name)
    if name == "cors_origins":
        return "http://[::1]:3000, *", ("http://[::1]:3000", "*")
    if name == "max_pixels":
        return "64x64", 64 * 64
    if isinstance(default, bool):
        return str(not default).lower(), not default
    if name in CHOICES:
        return CHOICES[name], CHOICES[name]
    if isinstance(default, tuple):
        return "one, two", ("one", "two")
    if isinstance(default, Path):
        return "/somewhere/else", Path("/somewhere/else")
    if isinstance(default, str):
        return "something-else", "something-else"
    return str(default + 1), default + 1


def test_without_any_variable_everything_has_its_default():
    """Given a bare environment, when read, then it is the defaults."""
    assert read_settings() == Settings()


@pytest.mark.parametrize("name", NAMES)
def test_each_variable_is_read(monkeypatch, name):
    """Given one variable, when read, then that setting has its value and type, and no other changed."""
    text, value = other_value(name)
    monkeypatch.setenv(name.upper(), text)

    settings = read_settings()

    assert getattr(settings, name) == value
    assert type(getattr(settings, name)) is type(getattr(Settings(), name)) or isinstance(value, Path)
    assert {other for other in NAMES if getattr(settings, other) != getattr(Settings(), other)} == {name}


NUMBERS = [
    name
    for name in NAMES
    if isinstance(getattr(Settings(), name), int | float) and not isinstance(getattr(Settings(), name), bool)
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["many", "-1", "nan", "1e999"])
def test_a_number_that_cannot_be_used_names_its_variable(monkeypatch, name, text):
    """Given a text that is no number in range, when read, then the error names the variable."""
    monkeypatch.setenv(name.upper(), text)

    with pytest.raises(SettingsError, match=name.upper()):
        read_settings()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PORT", "0"),
        ("CALLBACK_HOSTS", "example.org,http://example.org/"),
        ("PRESIGNED_LINKS_S", "604801"),
        ("PORT", "65536"),
        ("PORT", "50.5"),
        ("WORKER_VARIANT", "gpu"),
        ("LOG_LEVEL", "LOUD"),
        ("ALLOW_DOWNLOADS", "perhaps"),
        ("MAX_BODY_BYTES", "1"),
        ("MAX_ATTEMPTS", "0"),
        ("REDIS_TIMEOUT_S", "0"),
    ],
)
def test_a_value_out_of_bounds_names_its_variable(monkeypatch, variable, text):
    """Given a value beyond its bounds, when read, then the error names the variable."""
    monkeypatch.setenv(variable, text)

    with pytest.raises(SettingsError, match=variable):
        read_settings()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("8589934592", 8 * 2**30),
        ("500MB", 500_000_000),
        ("4 GB", 4_000_000_000),
        ("1.5GiB", 3 * 2**29),
        (" 2gib ", 2**31),
        ("8G", 8_000_000_000),
        ("512m", 512_000_000),
        ("3 Gi", 3 * 2**30),
        ("1024B", 1024),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_memory_is_bytes_or_has_a_unit(monkeypatch, text, count):
    """Given MODEL_MEMORY with or without a unit, when read, then it is that many bytes."""
    monkeypatch.setenv("MODEL_MEMORY", text)
    assert read_settings().model_memory == count


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", "  "])
def test_a_variable_set_to_nothing_is_as_if_it_were_not_set(monkeypatch, name, text):
    """Given a variable without a value, as a .env file has it, when read, then it has its default."""
    monkeypatch.setenv(name.upper(), text)
    assert read_settings() == Settings()


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(("_bytes", "_memory"))])
def test_every_number_of_bytes_may_have_a_unit(monkeypatch, name):
    """Given a setting in bytes, when it is written with a unit, then it is that many bytes."""
    monkeypatch.setenv(name.upper(), "64MB")
    assert getattr(read_settings(), name) == 64_000_000


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("log_level", "info", "INFO"),
        ("log_level", "Warning ", "WARNING"),
        ("log_format", "JSON", "json"),
        ("worker_variant", "Optimized", "optimized"),
        ("cpu_backend", "OpenVINO", "openvino"),
        ("device", "CUDA:1", "cuda:1"),
        ("worker_gpus", "ALL", "all"),
        ("allow_downloads", "YES", True),
    ],
)
def test_words_may_be_written_in_upper_or_lower_case(monkeypatch, name, text, value):
    """Given a word of a list in other letters, when read, then it is that word."""
    monkeypatch.setenv(name.upper(), text)
    assert getattr(read_settings(), name) == value


@pytest.mark.parametrize("name", ["models_dir", "prompts_dir", "compile_cache_dir", "output_dir", "api_keys_file"])
def test_a_path_may_begin_at_home(monkeypatch, tmp_path, name):
    """Given ~ at the beginning of a path, when read, then it is the home folder."""
    (tmp_path / "m").write_text("a-key\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name.upper(), "~/m")
    assert Path(getattr(read_settings(), name)) == tmp_path / "m"


def test_a_home_that_nobody_knows_names_the_variable(monkeypatch):
    """Given the home of a user who does not exist, when read, then the error names the variable."""
    monkeypatch.setenv("MODELS_DIR", "~nobody-of-this-name/m")
    with pytest.raises(SettingsError, match="MODELS_DIR"):
        read_settings()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_key_file_may_have_a_byte_order_mark(tmp_path, monkeypatch, end):
    """Given a key file as Notepad saves it, when read, then its first key is without the mark."""
    file = tmp_path / "keys"
    file.write_bytes(f"\ufeffalpha{end}beta{end}".encode())
    monkeypatch.setenv("API_KEYS_FILE", str(file))
    assert read_settings().api_keys == ("alpha", "beta")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_key_file_in_utf_16_is_named_as_such(tmp_path, monkeypatch, encoding):
    """Given a key file in UTF-16, when read, then the error says so and what to do."""
    file = tmp_path / "keys"
    file.write_bytes("alpha\nbeta".encode(encoding))
    monkeypatch.setenv("API_KEYS_FILE", str(file))
    with pytest.raises(SettingsError, match=r"API_KEYS_FILE: the file .* UTF-16; save it as UTF-8"):
        read_settings()


@pytest.mark.parametrize("text", ["four GB", "4 GB 2", "-4GB", "GB"])
def test_memory_of_another_form_is_refused(monkeypatch, text):
    """Given MODEL_MEMORY in another form, when read, then the error names the variable and the forms."""
    monkeypatch.setenv("MODEL_MEMORY", text)
    with pytest.raises(SettingsError, match=r"MODEL_MEMORY.*MB, GB or GiB"):
        read_settings()


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", ()),
        ("one", ("one",)),
        (" one ,two, ,", ("one", "two")),
        ("schlüssel,鍵", ("schlüssel", "鍵")),
    ],
)
def test_keys_are_a_list_without_empty_ones(monkeypatch, text, keys):
    """Given API_KEYS, when read, then spaces and empty entries are dropped: no empty key ever opens the server."""
    monkeypatch.setenv("API_KEYS", text)

    assert read_settings().api_keys == keys


def test_the_dummy_key_opens_only_a_server_without_keys():
    """Given no keys, when asked what opens, then it is the documented dummy; with keys it is those alone."""
    assert Settings().accepted_keys == (DUMMY_API_KEY,) == ("lksalsdfjliadfds",)
    assert Settings(api_keys=("one", "two")).accepted_keys == ("one", "two")


def test_a_worker_counts_as_alive_for_some_heartbeats():
    """Given an interval of heartbeats, when the time to live is asked for, then two heartbeats may be missed."""
    assert Settings(worker_beat_s=3).worker_ttl_s > 2 * 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "5"}, {"GOMP_SPINCOUNT": "5"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_threads_spin_little_unless_the_operator_says_otherwise(monkeypatch, before, after):
    """Given no choice or an operator's own, when a worker starts, then OpenMP is told to spin little, or left alone."""
    monkeypatch.setattr(os, "environ", dict(before))
    limit_spinning()
    assert os.environ == after


def test_origins_are_compared_as_browsers_write_them(monkeypatch):
    """Given an origin in upper case, when read, then it is in lower case, as browsers send it."""
    monkeypatch.setenv("CORS_ORIGINS", "HTTPS://Images.LAN:8080")
    assert read_settings().cors_origins == ("https://images.lan:8080",)


@pytest.mark.parametrize("text", ["::1", "[::1]", " [::1] "])
def test_an_address_of_ipv6_may_stand_in_brackets(monkeypatch, text):
    """Given HOST with or without the brackets of a URL, when read, then it is the address."""
    monkeypatch.setenv("HOST", text)
    assert read_settings().host == "::1"


@pytest.mark.parametrize("text", ["https://host/", "host", "https://", "null", "ftp://host", "https://a.b, **"])
def test_what_is_no_origin_is_refused(monkeypatch, text):
    """Given CORS_ORIGINS with something that no browser sends as an origin, when read, then the error names it."""
    monkeypatch.setenv("CORS_ORIGINS", text)
    with pytest.raises(SettingsError, match=r"CORS_ORIGINS.*https://host"):
        read_settings()


def test_keys_can_lie_in_a_file(tmp_path, monkeypatch):
    """Given a file of keys with a comment, when read beside API_KEYS, then all of them are keys, each once."""
    file = tmp_path / "keys"
    file.write_text("# friends\nalpha\n\n  beta  \none\n", encoding="utf-8")
    monkeypatch.setenv("API_KEYS", "one")
    monkeypatch.setenv("API_KEYS_FILE", str(file))
    assert read_settings().api_keys == ("one", "alpha", "beta")


@pytest.mark.parametrize("content", [None, b"", b"# nothing\n", b"\xff\xfe"])
def test_a_key_file_that_opens_nothing_stops_the_start(tmp_path, monkeypatch, content):
    """Given a key file that is missing, empty or no text, when read, then the error names the variable only."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("API_KEYS_FILE", str(file))
    with pytest.raises(SettingsError, match="API_KEYS_FILE"):
        read_settings()


@pytest.mark.parametrize(
    ("text", "count"), [("1048576", 2**20), ("1536x1024", 1536 * 1024), (" 64X64 ", 4096), ("0", 0)]
)
def test_pixels_are_a_number_or_a_size(monkeypatch, text, count):
    """Given MAX_PIXELS in either form, when read, then it is that many pixels."""
    monkeypatch.setenv("MAX_PIXELS", text)
    assert read_settings().max_pixels == count


@pytest.mark.parametrize("text", ["large", "1024x", "1024x1024x2", "-1", "63x64", "1.5"])
def test_pixels_of_another_form_or_too_few_are_refused(monkeypatch, text):
    """Given MAX_PIXELS that can be no size of an image, when read, then the error names the variable and says why."""
    monkeypatch.setenv("MAX_PIXELS", text)
    with pytest.raises(SettingsError, match=r"MAX_PIXELS.*(1024x1024|at least 4096)"):
        read_settings()
