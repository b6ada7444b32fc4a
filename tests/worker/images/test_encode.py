"""Encoding and infotext."""

import io
import json
import re
from typing import Any

import numpy as np
import piexif
import piexif.helper
import pytest
from PIL import Image

from worker.images.encode import encode
from worker.images.infotext import infotext

PARAMETERS: dict[str, Any] = {
    "prompt": "a (red:1.2) cat, sitting",
    "negative_prompt": "dog",
    "ddim_steps": 20,
    "sampler": "k_euler_a",
    "scale": 7.5,
    "seed": 42,
    "W": 64,
    "H": 48,
    "ckpt": "demo",
    "ddim_eta": 0.0,
}
RED = Image.new("RGB", (64, 48), (200, 10, 10))
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "jpg": b"\xff\xd8\xff", "webp": b"RIFF"}


def parse_infotext(text: str) -> dict[str, str]:
    """Read infotext back: the prompts, and the values of the last line."""
    *head, last = text.split("\n")
    found = dict(re.findall(r'\s*(\w[\w ]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last))
    values = {name: json.loads(value) if value.startswith('"') else value for name, value in found.items()}
    prompt, _, negative = "\n".join(head).partition("\nNegative prompt: ")
    return {"prompt": prompt, "negative_prompt": negative, **values}


@pytest.mark.parametrize("format", MAGIC)
def test_bytes_are_of_the_format_they_are_labelled_with(format: str) -> None:
    """Given a format, when an image is encoded twice, then the bytes are that format's, equal, and decodable."""
    data = encode(RED, format, PARAMETERS)
    assert data.startswith(MAGIC[format])
    assert data == encode(RED, format, PARAMETERS)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.size == RED.size
        channels = np.asarray(opened.convert("RGB"), dtype=int)[5, 5]
    assert abs(channels - (200, 10, 10)).max() <= 4


def test_infotext_is_what_the_web_ui_writes() -> None:
    """Given parameters by wire name, when infotext is written, then it has the A1111 layout and labels."""
    assert infotext(PARAMETERS) == (
        "a (red:1.2) cat, sitting\nNegative prompt: dog\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 64x48, Model: demo, Eta: 0"
    )


def test_infotext_tells_of_the_decoder_where_it_is_not_the_model_s_own() -> None:
    """Given a VAE, a tiny decoder and tiling, when infotext is written, then it has them as A1111 calls them; without
    them nothing."""
    plain = infotext(PARAMETERS | {"vae": None, "decoder": "full", "tiling": False})
    assert plain == infotext(PARAMETERS)
    read = parse_infotext(infotext(PARAMETERS | {"vae": "soft", "decoder": "tiny", "tiling": True}))
    assert (read["VAE"], read["Decoder"], read["Tiling"]) == ("soft", "tiny", "True")


def test_infotext_survives_a_round_trip() -> None:
    """Given values with separators in them, when infotext is read back, then every value is as it was."""
    odd = PARAMETERS | {"ckpt": 'my "model", v: 2', "prompt": "two\nlines", "denoising_strength": 0.25}
    read = parse_infotext(infotext(odd))
    assert read["Model"] == 'my "model", v: 2'
    assert read["prompt"] == "two\nlines"
    assert read["negative_prompt"] == "dog"
    assert (read["Steps"], read["Denoising strength"], read["Size"]) == ("20", "0.25", "64x48")


@pytest.mark.parametrize("prompt", ["plain", "Käse, 猫 😀", "half a pair \ud83d", "with a \0 in it", "long " * 30_000])
@pytest.mark.parametrize("format", MAGIC)
def test_any_prompt_can_be_stored(format: str, prompt: str) -> None:
    """Given a prompt in any script or length, when an image is encoded, then its start can be read back."""
    data = encode(RED, format, PARAMETERS | {"prompt": prompt})
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        if format == "png":
            stored = str(opened.info["parameters"])
        else:
            comment = opened.getexif().get_ifd(0x8769)[0x9286]
            assert comment.startswith(b"UNICODE\0")
            stored = comment[8:].decode("utf-16-be")
    readable = prompt.replace("\0", "").encode("utf-8", "replace").decode()
    assert stored.startswith(readable[:1000])


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_piexif_reads_the_user_comment(format: str) -> None:
    """Given a JPEG or WebP, when piexif, A1111's reader, loads its comment, then it is the infotext."""
    read = piexif.load(encode(RED, format, PARAMETERS))
    assert piexif.helper.UserComment.load(read["Exif"][piexif.ExifIFD.UserComment]) == infotext(PARAMETERS)


def test_png_carries_its_parameters_as_json() -> None:
    """Given parameters, when a PNG is written, then they can be read back from it as JSON, unchanged."""
    with Image.open(io.BytesIO(encode(RED, "png", PARAMETERS))) as opened:
        opened.load()
        assert json.loads(opened.info["personal_diffusion"]) == PARAMETERS


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_quality_sets_how_much_a_file_loses(format: str) -> None:
    """Given a quality, when an image is encoded, then a lower one makes a smaller file, and none means 95."""
    noise = Image.effect_noise((64, 48), 80).convert("RGB")
    sizes = [len(encode(noise, format, PARAMETERS, quality)) for quality in (0, 50, 95)]
    assert sizes[0] < sizes[1] < sizes[2] == len(encode(noise, format, PARAMETERS))


def test_infotext_names_the_size_that_an_image_was_resized_to() -> None:
    """Given output_width and output_height, when infotext is written, then it names both sizes and the filter."""
    read = parse_infotext(infotext(PARAMETERS | {"output_width": 1024, "output_height": 768}))
    assert read["Size"] == "64x48"
    assert (read["Postprocess upscale to"], read["Postprocess upscaler"]) == ("1024x768", "Lanczos")


def test_infotext_names_embeddings_with_their_hashes() -> None:
    """Given embeddings that were used, when the infotext is written, then it has the first twelve digits of each, as
    the A1111 web UI does, and without any it says nothing of them."""
    used = [{"name": "spiral", "sha256": "0123456789abcdef" * 4}, {"name": "a,b:c", "sha256": "f" * 64}]
    text = infotext({**PARAMETERS, "embeddings": used})
    assert 'TI hashes: "spiral: 0123456789ab, abc: ffffffffffff"' in text
    assert "TI hashes" not in infotext(PARAMETERS)


def test_infotext_names_loras_in_the_prompt_and_with_their_hashes() -> None:
    """Given LoRAs that were used, when the infotext is written, then the prompt has a tag for each, and `Lora hashes`
    the first twelve digits of those whose hash is known."""
    used = [
        {"name": "sketch", "hash": "0123456789abcdef" * 4, "weight": 0.8, "text_weight": 0.8},
        {"name": "night", "weight": 1.0, "text_weight": 0.5},
    ]
    text = infotext({**PARAMETERS, "loras": used})
    assert text.startswith(f"{PARAMETERS['prompt']} <lora:sketch:0.8> <lora:night:0.5:1>\n")
    assert 'Lora hashes: "sketch: 0123456789ab"' in text
    assert "Lora" not in infotext({**PARAMETERS, "loras": []})
