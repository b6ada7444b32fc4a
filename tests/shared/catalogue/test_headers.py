"""Headers of files of weights: bounded, checked, and nothing in them is run."""

import io
import json
import pickle
import zipfile

import pytest

from shared.catalogue.pickled_data import ForbiddenName, read_pickle
from shared.catalogue.safetensors_header import MOST_HEADER_BYTES
from shared.catalogue.tensors import NotUsable
from shared.catalogue.weights_file import read_header
from tests.shared.catalogue.small_files import safetensors

GOOD = {"a": (2, 3), "b": ()}


def with_header(entries, data=b""):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def test_names_shapes_types_and_places_are_read(tmp_path):
    """Given a sound file, when its header is read, then its tensors and texts are there, and where each begins."""
    file = tmp_path / "m.safetensors"
    file.write_bytes(safetensors(GOOD, metadata={"format": "pt", "long": "x" * 2000, "number": 5}))
    header = read_header(file)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in header.tensors.items()} == {
        "a": ("float16", (2, 3)), "b": ("float16", ()),
    }  # fmt: skip
    assert header.tensors["b"].begin - header.tensors["a"].begin == 12
    assert header.tensors["b"].begin + 2 == file.stat().st_size
    assert header.metadata == {"format": "pt"}


CUT, LIES = "is cut short or no safetensors file: fetch it again", "has a header that contradicts itself"
BROKEN = {
    "empty": (b"", CUT),
    "cut in the length": (b"\1\0\0", CUT),
    "cut in the header": (safetensors(GOOD)[:20], CUT),
    "cut in the weights": (safetensors(GOOD)[:-1], CUT),
    "a page of a site": (b"<!doctype html><html>not found</html>", CUT),
    "no JSON": (with_header(b"{nothing"), CUT),
    "a list": (with_header([1]), CUT),
    "nested without end": (with_header(b"[" * 100_000), CUT),
    "beyond the file": (with_header(entry(shape=(2**40,), offsets=(0, 2**42))), CUT),
    "other size": (with_header(entry(shape=(3,)), bytes(8)), LIES),
    "backwards": (with_header(entry(offsets=(8, 0)), bytes(8)), LIES),
    "negative": (with_header(entry(shape=(-2,)), bytes(8)), LIES),
    "no numbers": (with_header(entry(offsets=("0", "8")), bytes(8)), LIES),
    "no entry": (with_header({"w": 5}), LIES),
    "no places": (with_header({"w": {"dtype": "F32", "shape": []}}), LIES),
    "a name without end": (with_header({"w" * 5000: entry()["w"]}, bytes(8)), LIES),
    "sides without end": (with_header(entry(shape=(1,) * 100_000)), LIES),
    "a side without end": (with_header(entry(shape=(0, 10**4000), offsets=(0, 0))), LIES),
    "three places": (with_header(entry(offsets=(0, 4, 8)), bytes(8)), LIES),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_header_is_one_sentence(tmp_path, kind):
    """Given a header that is cut, no JSON or a lie, when it is read, then one sentence says so and what to do."""
    content, sentence = BROKEN[kind]
    file = tmp_path / "m.safetensors"
    file.write_bytes(content)
    with pytest.raises(NotUsable, match=sentence):
        read_header(file)


def test_a_header_of_100_mb_is_not_read(tmp_path):
    """Given a header longer than any model's, when it is read, then it is refused by its length."""
    file = tmp_path / "m.safetensors"
    with file.open("wb") as stream:
        stream.write((100 * 2**20).to_bytes(8, "little"))
        stream.truncate(101 * 2**20)
    with pytest.raises(NotUsable, match=f"has a header of 100 MiB, where {MOST_HEADER_BYTES >> 20} are the most: get"):
        read_header(file)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    """Given a file that is gone, when its header is read, then the sentence says why."""
    with pytest.raises(NotUsable, match=r"cannot be read .*No such file"):
        read_header(tmp_path / "m.safetensors")


def read(data):
    return read_pickle(io.BytesIO(data), {"collections.OrderedDict": lambda *_: {}}, lambda identifier: identifier)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_plain_things_is_read(protocol):
    """Given numbers, texts and containers in any protocol, when read, then they are what was written."""
    written = {"a": [1, -2.5, None, True, 2**80], "b": ("x", ("y",), ()), 3: {"deep": b"bytes"}, "é": "ü"}
    if protocol < 3:
        del written[3]  # bytes come by way of a function in the older ones
    assert read(pickle.dumps(written, protocol)) == written


def test_what_is_memorised_is_the_same_thing():
    """Given one list twice, when read, then it is one list."""
    twice: list[list[int]] = [[]] * 2
    found = read(pickle.dumps(twice))
    assert found[0] is found[1]


@pytest.mark.parametrize(
    "data",
    [
        b"cposix\nsystem\n(S'true'\ntR.",
        b"c__builtin__\ngetattr\n.",
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    ],
    ids=["called", "named", "protocol 4"],
)
def test_a_name_that_is_not_in_the_table_ends_the_reading(data):
    """Given a pickle that names a function, when read, then that name is refused, and nothing is called."""
    with pytest.raises(ForbiddenName, match=r"^(posix\.system|__builtin__\.getattr)$"):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"N", b".", b"0.", b"h\x05.", b"(K\x01K\x02R.", b"K\x01(R.", b"\x82\x01.", b"}K\x01s.", b"\x85.",
        b"\x96" + b"\xff" * 8 + b".",
    ],
)  # fmt: skip
def test_a_broken_pickle_raises_and_no_more(data):
    """Given pickles that are cut or make no sense, when read, then an ordinary error is raised."""
    with pytest.raises((ValueError, IndexError, KeyError, TypeError)):
        read(data)


def test_keys_nested_without_end_are_not_hashed():
    """Given a tuple nested a hundred thousand deep as a key, when read, then the process lives; the key is left out."""
    assert read(b"})" + b"\x85" * 100_000 + b"K\x01s.") == {}


def test_a_memo_of_four_thousand_million_takes_no_memory():
    """Given a pickle that puts something at the highest place of the memo, when read, then it is read."""
    assert read(b"K\x01r\xff\xff\xff\xff.") == 1


def test_an_endless_pickle_is_given_up():
    """Given more steps than any checkpoint has, when read, then it is refused."""
    with pytest.raises(ValueError, match="too long"):
        read(b"N0" * 1_000_001 + b"N.")


def test_a_name_that_is_no_text_is_not_made_one():
    """Given a tuple that holds another one twice, and so on, as the name of a module, when read, then it is refused
    before its text is written out."""
    with pytest.raises(ValueError, match=r"^a name is no text$"):
        read(b"N" + b"2\x86" * 15 + b"Vx\n\x93.")


def test_a_dictionary_that_is_copied_without_end_is_given_up(monkeypatch):
    """Given one dictionary of parameters that is copied into many, when read, then every item of a copy counts."""
    monkeypatch.setattr("shared.catalogue.pickled_data._MOST_STEPS", 5000)
    state = b"}V_parameters\n}(" + b"".join(b"K%cN" % number for number in range(200)) + b"usq\x00"
    assert [len(copy) for copy in read(state + b"]" + b"}h\x00ba" * 3 + b".")] == [200] * 3
    with pytest.raises(ValueError, match="too long"):
        read(state + b"]" + b"}h\x00ba" * 30 + b".")


def archive(pickled, **entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", entries.pop("compression", zipfile.ZIP_STORED)) as made:
        made.writestr("archive/data.pkl", pickled)
        for name, data in entries.items():
            made.writestr(f"archive/data/{name}", data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (archive(b"cposix\nsystem\n."), r"was refused, because opening it would run code \(posix.system\): get"),
        (pickle.dumps({"a": 1}), "is cut short or no checkpoint: fetch it again"),
        (archive(b"N")[:-30], "is cut short or no checkpoint: fetch it again"),
        (archive(pickle.dumps([1])), "holds no weights by name"),
        (archive(bytes(17 * 2**20), compression=zipfile.ZIP_DEFLATED), "lists more than 16 MiB of names"),
        (archive(pickle.dumps({str(n): n for n in range(200_002)})), "lists more names than any model has"),
        (archive(b"N", compression=zipfile.ZIP_BZIP2), "is compressed: get the model as .safetensors"),
        (archive(b"N", compression=zipfile.ZIP_LZMA), "is compressed: get the model as .safetensors"),
        (archive(b"}Vw\nctorch\nSize\n(](" + b"N" * 17 + b"etRs."), "is cut short or no checkpoint"),
        (b"not found\n", "is cut short or no checkpoint"),
        (b"", "is cut short or no checkpoint"),
    ],
    ids=[
        "code", "no torch file", "cut", "no names", "a bomb", "too many names", "bzip2", "lzma", "many sides", "text",
        "empty",
    ],
)  # fmt: skip
def test_a_ckpt_that_is_none_is_one_sentence(tmp_path, content, sentence):
    """Given a .ckpt that is hostile, cut or something else, when read, then one sentence says so and what to do."""
    file = tmp_path / "m.ckpt"
    file.write_bytes(content)
    with pytest.raises(NotUsable, match=sentence):
        read_header(file)


STORAGE = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI%d\ntQ"
CALL = b"}Vw\nctorch._utils\n_rebuild_tensor_v2\n("


def tensor_pickle(shape, strides, count=4):
    """A pickle in which torch's function is called for a tensor of float32 in storage "0", written by hand."""
    numbers = [b"(" + b"".join(b"I%d\n" % each for each in sides) + b"t" for sides in (shape, strides)]
    return CALL + STORAGE % count + b"I0\n" + numbers[0] + numbers[1] + b"tRs."


def test_a_tensor_of_a_ckpt_lies_in_its_storage(tmp_path):
    """Given shapes and strides within a storage, when read, then they are the tensor's."""
    file = tmp_path / "m.ckpt"
    file.write_bytes(archive(tensor_pickle((2, 2), (1, 2)), **{"0": bytes(16)}))
    stored = read_header(file).tensors["w"]
    assert (stored.dtype, stored.shape, stored.strides, stored.storage) == ("float32", (2, 2), (1, 2), "0")


@pytest.mark.parametrize(
    ("shape", "strides", "count"),
    [
        ((5,), (1,), 4), ((4,), (1,), 8), ((2**50,), (0,), 4), ((8,), (0,), 4), ((2, 2), (1,), 4), ((-2, 2), (2, 1), 4),
        ((1,) * 100, (1,) * 100, 4),
    ],
    ids=["too long", "storage too small", "repeated for ever", "repeated", "no strides", "negative", "sides"],
)  # fmt: skip
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, shape, strides, count):
    """Given a shape that needs more than is there, when read, then the file is refused, and no memory is taken."""
    file = tmp_path / "m.ckpt"
    file.write_bytes(archive(tensor_pickle(shape, strides, count), **{"0": bytes(16)}))
    with pytest.raises(NotUsable, match="is cut short or no checkpoint: fetch it again"):
        read_header(file)


NESTED = b")" + b"\x85" * 200_000
#: What a file of torch before 1.6 begins with: magic number, version, and what it says of the machine.
OLDER: tuple[object, ...] = (0x1950A86A20F9469CFC6C, 1001, {}, {})


@pytest.mark.parametrize(
    "content",
    [
        archive(STORAGE % 4 + CALL + NESTED + b"V0\n\x86I0\n))tRs.", **{"0": bytes(16)}),
        archive(CALL + b"Vfloat32\n" + NESTED + b"\x86I0\n))tRs."),
        b"".join(pickle.dumps(each) for each in OLDER) + b"]" + NESTED + b"a.",
    ],
    ids=["type", "storage", "older"],
)
def test_what_is_nested_without_end_is_no_storage(tmp_path, content):
    """Given a tuple nested 200,000 deep where a storage is named, when read, then the process lives."""
    file = tmp_path / "m.bin"
    file.write_bytes(content)
    with pytest.raises(NotUsable, match="is cut short or no checkpoint: fetch it again"):
        read_header(file)


def test_a_ckpt_that_holds_itself_is_read_to_its_end(tmp_path):
    """Given a dictionary that is its own state_dict, when read, then the reading ends."""
    file = tmp_path / "m.ckpt"
    file.write_bytes(archive(b"}q\x00Vstate_dict\nh\x00s."))
    assert read_header(file).tensors == {}
