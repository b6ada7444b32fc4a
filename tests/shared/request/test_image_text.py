"""Reading the texts in image files."""

import io

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shared.request.image_text import ImageText, read_image_text
from worker.images.encode import encode
from worker.images.infotext import infotext

PIXELS = 1_000_000
PARAMETERS = {"prompt": "ä cat, 猫", "negative_prompt": "a dog", "ddim_steps": 20, "sampler": "k_euler_a", "seed": 42}


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_what_the_worker_writes_is_read_back(form):
    """Given an image of ours in each format, when its text is read, then it is the infotext that was written."""
    read = read_image_text(encode(Image.new("RGB", (16, 16)), form, PARAMETERS), PIXELS)
    assert read.infotext == infotext(PARAMETERS)
    assert set(read.items) == ({"personal_diffusion"} if form == "png" else set())
    assert ImageText.from_json(read.to_json()) == read


def test_an_image_without_texts_has_none():
    """Given images without any, when read, then the texts are empty."""
    for form in ("PNG", "JPEG", "GIF"):
        out = io.BytesIO()
        Image.new("RGB", (8, 8)).save(out, form)
        assert read_image_text(out.getvalue(), PIXELS).infotext == ""


def with_texts(*texts):
    chunks = PngInfo()
    for number, text in enumerate(texts):
        chunks.add_itxt(f"key {number}", text, zip=True)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=chunks)
    return out.getvalue()


def test_texts_are_bounded():
    """Given a PNG with many texts, when read, then no more are given than is sane; a huge one is refused."""
    assert len(read_image_text(with_texts(*["value"] * 300), PIXELS).items) == 100
    with pytest.raises(ValueError, match=r".\.$"):
        read_image_text(with_texts("x" * 5_000_000), PIXELS)


def test_texts_are_bounded_together():
    """Given a small file that holds many long texts, when read, then as much is given as one text may have."""
    long = with_texts(*["x" * 600_000] * 50, "the last one")
    assert len(long) < 100_000
    read = read_image_text(long, PIXELS)
    assert read.items == {"key 0": "x" * 600_000, "key 50": "the last one"}


def test_a_long_comment_is_cut_off():
    """Given a WebP whose comment is far too long, when read, then its begin is given."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + b"x" * 3_000_000
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "WEBP", exif=exif)
    assert read_image_text(out.getvalue(), PIXELS).infotext == "x" * 1_000_000


@pytest.mark.parametrize("data", [b"", b"no image", encode(Image.new("RGB", (2000, 2000)), "png", {})])
def test_what_is_no_image_is_refused(data):
    """Given no image, or one that is too large, when read, then ValueError with a sentence."""
    with pytest.raises(ValueError, match=r".\.$"):
        read_image_text(data, PIXELS)
