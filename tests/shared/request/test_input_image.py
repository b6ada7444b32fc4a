"""The image a client sends: every sort of good one, every sort of bad one."""

import base64
import io
import itertools
import random
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from shared.request.input_image import decode_input_image
from shared.request.jpeg_scans import count_scans

LIMIT = 1_000_000
WHITE, RED, GREEN = (255, 255, 255), (255, 0, 0), (0, 255, 0)


def to_bytes(image, form="PNG", **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def to_text(data):
    return base64.b64encode(data).decode()


def decoded(data):
    """What becomes of these file bytes, as a Pillow image."""
    result = decode_input_image(to_text(data), LIMIT)
    image = Image.open(io.BytesIO(result.png))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (result.width, result.height))
    return image


def noise(form, size=(64, 64), **options):
    image = Image.frombytes("RGB", size, bytes((17 * n * n + 31 * n) % 256 for n in range(size[0] * size[1] * 3)))
    return to_bytes(image, form, **options)


def png_with_header(width, height):
    """A PNG that claims a size and holds no pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"")
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
        + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    )  # fmt: skip


def bmp_with_header(width, height):
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(info), 0, 0, 54) + info


def gif_with_header(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def webp_with_header(width, height):
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x00\x00\x00\x00" + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_every_common_format_is_read(form):
    """Given an image in a common format, when decoded, then its pixels arrive."""
    image = decoded(to_bytes(Image.new("RGB", (24, 16), RED), form))

    assert image.size == (24, 16)
    red, green, blue = image.getpixel((12, 8))
    assert red > 245
    assert max(green, blue) < 10


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: f"data:image/png;base64,{text}",
        lambda text: f"DATA:image/PNG;charset=utf-8;base64,{text}",
        lambda text: f"data:;base64,\n{text}",
        lambda text: f"  data:image/jpeg;base64,{text}\n",
        lambda text: "\n".join(text[n : n + 76] for n in range(0, len(text), 76)),
        lambda text: "\r\n".join(text[n : n + 64] for n in range(0, len(text), 64)) + "\r\n",
        lambda text: "\t " + text + " ",
        lambda text: text.rstrip("="),
        lambda text: text.translate({ord("+"): "-", ord("/"): "_"}),
        lambda text: text.translate({ord("+"): "-", ord("/"): "_"}).rstrip("="),
        lambda text: text.rstrip("=") + "\n==",
        lambda text: " ".join(text),
    ],
    ids=[
        "data",
        "DATA",
        "bare-data",
        "spaced-data",
        "lines",
        "crlf",
        "spaces",
        "unpadded",
        "url-safe",
        "url-safe-unpadded",
        "padding-apart",
        "spaced",
    ],
)
def test_base64_is_taken_in_every_dress(dress):
    """Given base64 with a data: prefix or white space, when decoded, then it is the same image."""
    text = to_text(noise("PNG"))
    assert {"+", "/", "="} <= set(text)

    assert decode_input_image(dress(text), LIMIT) == decode_input_image(text, LIMIT)


def test_the_same_image_gives_the_same_bytes():
    """Given one image with different metadata, when decoded, then the kept PNG has the pixels alone."""
    plain = Image.new("RGB", (16, 16), GREEN)
    info = io.BytesIO()
    plain.save(info, "PNG", dpi=(300, 300))

    assert decode_input_image(to_text(info.getvalue()), LIMIT) == decode_input_image(to_text(to_bytes(plain)), LIMIT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "data:image/png;base64,",
        "!!!!",
        "abcde",
        "AAAA=AAA",
        "=",
        "ä" * 8,
        "\ud800" * 4,
        "data:image/png;base64",
        "data:,%89PNG",
        "https://example.org/cat.png",
    ],
)
def test_text_that_is_no_base64_is_refused(text):
    """Given text that holds no base64, when decoded, then a sentence says so."""
    with pytest.raises(ValueError, match="base64"):
        decode_input_image(text, LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"hello, world",
        b"\x00" * 64,
        b"%PDF-1.4 etc",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n",
        to_bytes(Image.new("RGB", (16, 16)), "TIFF"),
        to_bytes(Image.new("RGB", (16, 16)), "PPM"),
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"GIF89a",
        b"BM",
        b"RIFF\x00\x00\x00\x00WEBP",
    ],
    ids=[
        "text",
        "zeros",
        "pdf",
        "svg",
        "eps",
        "tiff",
        "ppm",
        "png-magic",
        "jpeg-magic",
        "gif-magic",
        "bmp-magic",
        "webp-magic",
    ],
)
def test_what_is_no_image_is_refused(data):
    """Given bytes of another kind, or a magic number alone, when decoded, then a sentence names what is taken."""
    with pytest.raises(ValueError, match="not a readable PNG, JPEG, WebP, GIF or BMP"):
        decode_input_image(to_text(data), LIMIT)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_image_that_was_cut_off_is_refused(form, share):
    """Given the first part of a file, when decoded, then it is refused: no grey half is drawn upon."""
    data = noise(form)

    with pytest.raises(ValueError, match="broken or cut off"):
        decode_input_image(to_text(data[: int(len(data) * share)]), LIMIT)


def test_a_png_with_a_flipped_bit_is_refused():
    """Given a PNG whose checksum does not fit, when decoded, then it is refused."""
    data = bytearray(noise("PNG"))
    data[20] ^= 1

    with pytest.raises(ValueError, match="broken or cut off"):
        decode_input_image(to_text(bytes(data)), LIMIT)


@pytest.mark.parametrize("seed", range(40))
def test_mangled_files_never_raise_anything_but_value_error(seed):
    """Given a file with mangled bytes, when decoded, then it is an image or a ValueError, nothing else."""
    chance = random.Random(seed)
    data = bytearray(noise(chance.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP"]), (16, 16)))
    for _ in range(chance.randrange(1, 20)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    try:
        decode_input_image(to_text(bytes(data)), LIMIT)
    except ValueError as refused:
        said = str(refused)
    else:
        said = "Is an image."
    assert said.endswith(".")


WHOLE = [noise(form, (16, 16)) for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP")]


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8), st.integers(0, 30))))
def test_no_edit_of_a_file_raises_anything_but_value_error(data, edits):
    """Given a file with pieces that are others or gone, when decoded, then it is a small image or a ValueError."""
    edited = bytearray(data)
    for place, piece, gone in edits:
        at = int(place * len(edited))
        edited[at : at + gone] = piece
    try:
        image = decode_input_image(to_text(bytes(edited)), 4096)
    except ValueError as refused:
        said = str(refused)
    else:
        said = "Is an image."
        assert 64 <= image.width * image.height <= 4096
        assert Image.open(io.BytesIO(image.png)).size == (image.width, image.height)
    assert said.endswith(".")


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=200) | st.binary(max_size=200).map(to_text))
def test_no_text_raises_anything_but_value_error(text):
    """Given any text, when decoded, then it is refused with a sentence: no image is so small."""
    with pytest.raises(ValueError, match=r"\.$"):
        decode_input_image(text, LIMIT)


def test_white_space_takes_no_memory_of_its_own():
    """Given base64 of many pieces, when decoded, then the peak is a few times the text, not a list of pieces."""
    text = "AB " * 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="not a readable"):
            decode_input_image(text, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(text)


@pytest.mark.parametrize("claim", [png_with_header, bmp_with_header, gif_with_header, webp_with_header])
@pytest.mark.parametrize("size", [(1001, 1000), (16000, 16000), (8, 16000 * 8)])
def test_an_enormous_image_is_refused_by_its_header(claim, size):
    """Given a header that claims more pixels than allowed, when decoded, then it is refused."""
    if claim in (gif_with_header, webp_with_header) and max(size) > 16384:
        size = (16383, 62)

    with pytest.raises(ValueError, match=r"pixels|not a readable"):
        decode_input_image(to_text(claim(*size)), LIMIT)


@pytest.mark.parametrize("size", [(1001, 1000), (20000, 20000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_as_too_large(size):
    """Given a PNG header of any enormous size, when decoded, then the answer speaks of pixels and of the limit."""
    with pytest.raises(ValueError, match=f"pixels.*at most {LIMIT}"):
        decode_input_image(to_text(png_with_header(*size)), LIMIT)


def test_the_limit_itself_is_taken():
    """Given an image of exactly the limit, when decoded, then it is taken; one task more is not."""
    assert decode_input_image(to_text(to_bytes(Image.new("1", (1000, 1000)))), LIMIT).width == 1000
    with pytest.raises(ValueError, match="1000x1001"):
        decode_input_image(to_text(to_bytes(Image.new("1", (1000, 1001)))), LIMIT)


@pytest.mark.parametrize(("size", "taken"), [((8, 8), True), ((7, 8), False), ((8, 7), False), ((1, 1), False)])
def test_a_tiny_image_needs_eight_pixels_a_side(size, taken):
    """Given a tiny image, when decoded, then one latent is the least."""
    text = to_text(to_bytes(Image.new("RGB", size)))
    if taken:
        assert decode_input_image(text, LIMIT).width == 8
    else:
        with pytest.raises(ValueError, match="at least 8"):
            decode_input_image(text, LIMIT)


def test_16_bits_of_grey_are_scaled_not_cut_off():
    """Given a 16-bit PNG, when decoded, then half of the range is half grey, not white."""
    halves = Image.frombytes("I;16", (16, 8), (b"\x00\x80" * 8 + b"\xff\xff" * 8) * 8)

    image = decoded(to_bytes(halves))

    assert (image.getpixel((0, 0)), image.getpixel((15, 0))) == ((128,) * 3, WHITE)


def palette(*colours):
    """An image of two halves, in the first two colours of a palette."""
    image = Image.new("P", (16, 8), 0)
    image.putpalette([level for colour in colours for level in colour])
    image.paste(1, (8, 0, 16, 8))
    return image


@pytest.mark.parametrize(
    ("data", "left", "right"),
    [
        (to_bytes(palette(RED, GREEN)), RED, GREEN),
        (to_bytes(palette(RED, GREEN), transparency=0), WHITE, GREEN),
        (to_bytes(palette(RED, GREEN), "GIF", transparency=0), WHITE, GREEN),
        (to_bytes(Image.new("RGBA", (16, 8), (255, 0, 0, 0))), WHITE, WHITE),
        (to_bytes(Image.new("RGBA", (16, 8), (0, 0, 0, 127))), (128,) * 3, (128,) * 3),
        (to_bytes(Image.new("RGBA", (16, 8), (0, 255, 0, 0)), "WEBP", lossless=True), WHITE, WHITE),
        (to_bytes(Image.new("LA", (16, 8), (9, 0))), WHITE, WHITE),
        (to_bytes(Image.new("RGB", (16, 8), RED), transparency=RED), WHITE, WHITE),
        (to_bytes(Image.new("L", (16, 8), 7), transparency=7), WHITE, WHITE),
        (to_bytes(Image.new("L", (16, 8), 7)), (7,) * 3, (7,) * 3),
        (to_bytes(Image.new("1", (16, 8), 1)), WHITE, WHITE),
    ],
    ids=[
        "palette",
        "palette-key",
        "gif-key",
        "rgba-clear",
        "rgba-half",
        "webp-clear",
        "la",
        "rgb-key",
        "l-key",
        "grey",
        "1-bit",
    ],
)
def test_every_mode_becomes_rgb_and_transparency_becomes_white(data, left, right):
    """Given a palette, grey, 1-bit or transparent image, when decoded, then it is RGB laid on white."""
    image = decoded(data)

    assert (image.getpixel((0, 0)), image.getpixel((15, 7))) == (left, right)


def test_cmyk_becomes_rgb():
    """Given a CMYK JPEG, when decoded, then its colours are right."""
    red, green, blue = decoded(to_bytes(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")).getpixel((8, 8))

    assert red > 250
    assert max(green, blue) < 5


def test_an_animation_gives_its_first_image():
    """Given an animated GIF, when decoded, then the first frame is taken."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN)]

    assert decoded(to_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])).getpixel((0, 0)) == RED


def test_the_camera_s_orientation_is_applied():
    """Given a JPEG to be turned by a quarter, when decoded, then width and height are swapped and the top is right."""
    image = Image.new("RGB", (32, 16), WHITE)
    image.paste((0, 0, 0), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the left side of the file is the top of the image

    turned = decoded(to_bytes(image, "JPEG", exif=exif, quality=95))

    assert turned.size == (16, 32)
    assert turned.getpixel((8, 4))[0] < 10
    assert turned.getpixel((8, 28))[0] > 245


def test_broken_camera_data_does_not_spoil_the_image():
    """Given a JPEG with garbage for EXIF, when decoded, then the image is taken all the same."""
    assert decoded(to_bytes(Image.new("RGB", (16, 24)), "JPEG", exif=b"Exif\0\0garbage garbage")).size == (16, 24)


@pytest.mark.parametrize(
    "text",
    [" HTTPS://example.org/cat.png", "file:///home/me/cat.png", "s3://bucket/cat.png", "blob:http://example.org/1a"],
)
def test_an_address_is_said_not_to_be_fetched(text):
    """Given an address for an image, when decoded, then the sentence tells that it is not fetched."""
    with pytest.raises(ValueError, match="an address is not fetched"):
        decode_input_image(text, LIMIT)


def test_the_place_of_a_strange_character_is_named():
    """Given base64 with a character that is none of it, when decoded, then character and place are named."""
    with pytest.raises(ValueError, match=r"'!' at character 24 "):
        decode_input_image("data:image/png;base64,A!" + "A" * 8, LIMIT)
    with pytest.raises(ValueError, match=r"'\\u2028' at character 5 "):
        decode_input_image("AAAA\u2028AAA", LIMIT)


# ---- scans of a JPEG


def jpeg_of_scans(scans, side=64):
    """A JPEG whose decoder must pass over its pixels so many times: all scans but one are empty."""
    data = to_bytes(Image.new("L", (side, side), 120), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    last = data[at:-2]
    return data[:at] + last * (scans - data[:at].count(b"\xff\xda")) + data[-2:]


@pytest.mark.parametrize(("scans", "taken"), [(10, True), (100, True), (101, False), (8000, False)])
def test_a_jpeg_of_very_many_scans_is_refused_undecoded(scans, taken):
    """Given a progressive JPEG, when it has more than 100 scans, then it is refused for that."""
    data = jpeg_of_scans(scans)
    assert count_scans(data, 10_000) == scans
    if taken:
        assert decode_input_image(to_text(data), LIMIT).width == 64
    else:
        with pytest.raises(ValueError, match="more than 100 scans"):
            decode_input_image(to_text(data), LIMIT)


def test_only_real_scans_are_counted():
    """Given what looks like scans within metadata and behind the end, when counted, then it is not."""
    looks = b"\xff\xda\x00\x08" * 500
    exif = to_bytes(Image.new("RGB", (64, 64), RED), "JPEG", exif=b"Exif\0\0" + looks)

    assert count_scans(exif + looks, 100) == 1
    assert decoded(exif + looks).size == (64, 64)
    assert count_scans(to_bytes(Image.new("RGB", (64, 64)), "PNG") + looks, 100) == 0


def test_scans_cannot_be_hidden_behind_markers_that_decoders_pass_over():
    """Given a marker without a meaning amid a scan, when counted, then what follows is not taken for its contents."""
    data = jpeg_of_scans(200)
    at = data.index(b"\xff\xda")
    hidden = data[: at + 12] + b"\xff\x02\xff\xff" + data[at + 12 :]
    assert count_scans(hidden, 100) == 101


def test_a_jpeg_of_very_many_segments_is_refused():
    """Given a JPEG of thousands of empty segments, when decoded, then it is refused before anybody walks through."""
    plain = to_bytes(Image.new("RGB", (64, 64)), "JPEG")
    with pytest.raises(ValueError, match="scans"):
        decode_input_image(to_text(plain[:2] + b"\xff\xfe\x00\x02" * 20_000 + plain[2:]), LIMIT)


# ---- colour profiles


D50 = (0.9642, 1, 0.8249)


def fixed(*values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile_of(kind, space, connection, version, **tags):
    """An ICC profile: its header, its table of tags, and these, whose length is a multiple of four."""
    start = 128 + 4 + 12 * len(tags)
    table = data = b""
    for name, entry in tags.items():
        table += name.encode() + struct.pack(">II", start + len(data), len(entry))
        data += entry
    head = struct.pack(">I4xI", start + len(data), version << 24) + kind + space + connection + bytes(12) + b"acsp"
    head += bytes(28) + fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def xyz(*values):
    return b"XYZ \0\0\0\0" + fixed(*values)


def matrix_profile(red, green, blue):
    """A profile of these primaries, XYZ at D50, with the tone curve of sRGB."""
    curve = b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    primaries = {"rXYZ": xyz(*red), "gXYZ": xyz(*green), "bXYZ": xyz(*blue)}
    curves = dict.fromkeys(("rTRC", "gTRC", "bTRC"), curve)
    return profile_of(b"mntr", b"RGB ", b"XYZ ", 4, wtpt=xyz(*D50), **primaries, **curves)


def linear_grey():
    """A profile of grey levels that are proportional to the light."""
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    return profile_of(b"mntr", b"GRAY", b"XYZ ", 2, wtpt=xyz(*D50), kTRC=curve)


def press(lab_of_inks):
    """A profile of a press, CMYK by way of a table (lut8Type) that gives L*, a*, b* for each mixture of full inks."""
    straight = bytes(range(256))
    corners = itertools.product((0, 1), repeat=4)
    table = bytes(level for inks in corners for level in _lab_bytes(*lab_of_inks(*inks)))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += straight * 4 + table + straight * 3
    return profile_of(b"prtr", b"CMYK", b"Lab ", 2, wtpt=xyz(*D50), A2B0=lut.ljust(-(-len(lut) // 4) * 4, b"\0"))


def _lab_bytes(lightness, a, b):
    return round(lightness * 2.55), a + 128, b + 128


P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
DISPLAY_P3 = matrix_profile(*P3)
RED_MEANS_GREEN = matrix_profile(P3[1], P3[0], P3[2])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def near(colour, wanted, by=3):
    return all(abs(a - b) <= by for a, b in zip(colour, wanted, strict=True))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_colours_are_converted_from_their_profile(form):
    """Given a colour in Display P3, when decoded, then it is what a viewer shows, in sRGB."""
    image = Image.new("RGB", (32, 32), (200, 60, 60))
    options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}

    assert near(decoded(to_bytes(image, form, icc_profile=DISPLAY_P3, **options)).getpixel((9, 9)), (217, 42, 52))


def test_colours_are_converted_before_they_are_laid_on_white():
    """Given a half transparent colour in Display P3, when decoded, then white stays white and is not converted."""
    image = Image.new("RGBA", (32, 32), (200, 60, 60, 128))
    image.paste((200, 60, 60, 0), (0, 0, 16, 32))
    result = decoded(to_bytes(image, icc_profile=DISPLAY_P3))

    assert result.getpixel((3, 3)) == WHITE
    assert near(result.getpixel((24, 3)), (236, 148, 153))


@pytest.mark.parametrize("mode", ["L", "LA", "L-key", "1"])
def test_grey_is_converted_from_a_profile_of_grey(mode):
    """Given grey levels that mean something else, transparent or not, when decoded, then they are as a viewer shows
    them: a fifth of the light is half grey."""
    options = {"transparency": 7} if mode == "L-key" else {}
    mode = mode.removesuffix("-key")
    levels: dict[str, int | tuple[int, int]] = {"L": 55, "LA": (55, 255), "1": 1}

    shown = decoded(to_bytes(Image.new(mode, (16, 8), levels[mode]), icc_profile=linear_grey(), **options)).getpixel(
        (3, 3)
    )

    assert near(shown, WHITE if mode == "1" else (128,) * 3)


def test_inks_are_converted_from_the_profile_of_their_press():
    """Given a CMYK JPEG with the profile of a press, when decoded, then its colours are what that press prints."""
    # cyan is a dull green only here: Lab (60, -34, 29) at D50 is (90, 160, 91) in sRGB
    labs = {(0, 0, 0, 0): (100, 0, 0), (1, 0, 0, 0): (60, -34, 29)}
    data = press(lambda *inks: labs.get(inks, (0, 0, 0)))

    image = Image.new("CMYK", (32, 16), (255, 0, 0, 0))
    image.paste((0, 0, 0, 0), (16, 0, 32, 16))
    shown = decoded(to_bytes(image, "JPEG", quality=100, icc_profile=data))

    assert near(shown.getpixel((4, 8)), (90, 160, 91), by=4)
    assert near(shown.getpixel((28, 8)), WHITE)


def test_a_palette_is_converted_too():
    """Given a palette and a profile in which red means green, when decoded, then what was red is green."""
    red, green, blue = decoded(to_bytes(palette(RED, (0, 0, 0)), icc_profile=RED_MEANS_GREEN)).getpixel((0, 0))

    assert green > 250
    assert max(red, blue) < 120


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_profile_of_srgb_changes_nothing(mode):
    """Given an image in sRGB that says so, when decoded, then its pixels are those of the file, to the last bit."""
    image = Image.effect_noise((64, 48), 90).convert("RGB").convert(mode)

    assert decoded(to_bytes(image, icc_profile=SRGB)).tobytes() == decoded(to_bytes(image)).tobytes()


@pytest.mark.parametrize(
    "profile",
    [b"nothing of that kind", DISPLAY_P3[:200], DISPLAY_P3[:-40], b"\0" * 5000, SRGB[:16] + b"CMYK" + SRGB[20:]],
    ids=["text", "cut", "cut-late", "zeros", "another-space"],
)
@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_a_broken_profile_is_passed_over(profile, mode):
    """Given a profile that cannot be used, when decoded, then the image is taken as if it had none."""
    image = Image.new(mode, (32, 32), 90 if mode == "L" else (10, 200, 90) if mode == "RGB" else (10, 200, 90, 5))

    with_profile = decoded(to_bytes(image, "JPEG", icc_profile=profile))

    assert with_profile.tobytes() == decoded(to_bytes(image, "JPEG")).tobytes()


def test_a_profile_of_absurd_size_is_passed_over():
    """Given a profile of many megabytes, when decoded, then it is not looked at."""
    image = Image.new("RGB", (32, 32), (200, 60, 60))
    padded = RED_MEANS_GREEN + bytes(9 * 1024 * 1024)

    assert near(decoded(to_bytes(image, "JPEG", icc_profile=padded)).getpixel((9, 9)), (200, 60, 60))
