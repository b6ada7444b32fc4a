"""VAEs and decoders in a request: named as the catalogue names them, and said where one has no effect."""

import json
from dataclasses import replace

import pytest

from shared.catalogue.models import Contents, OtherFile
from shared.request.model import ImageRequest

SOFT = OtherFile(
    "soft", "vae", "", "MODELS_DIR/VAE/soft.pt", 7, "is a VAE", channels=4, aliases=("soft.pt",), sha256="ab" * 32
)


@pytest.fixture
def limits(limits):
    tiny = replace(SOFT, name="taesd", kind="tiny-vae", shown="t", aliases=(), sha256="")
    limits.catalogue.replace(Contents.of(limits.catalogue.contents().models, (SOFT, tiny)))
    return limits


@pytest.mark.parametrize("name", ["soft", "soft.pt", SOFT.shown, SOFT.sha256, SOFT.short_hash])
def test_a_vae_is_found_by_any_of_its_names(generate, name):
    """Given a file's name, place or hash, when a request names it so, then the request has it under its own name, also
    after it was written and read."""
    request = generate(ckpt="sd15", vae=name)
    assert request.params.vae == "soft"
    assert ImageRequest.from_json(request.to_json()) == request


def test_an_older_record_has_the_model_s_own(generate):
    """Given a record without these fields, when it is read, then it is one of the model's own VAE, not tiling."""
    older = json.loads(generate(ckpt="sd15", vae="").to_json())
    params = older.get("params", older)
    for name in ("vae", "decoder", "tiling"):
        del params[name]
    request = ImageRequest.from_json(json.dumps(older))
    assert (request.params.vae, request.params.decoder, request.params.tiling) == (None, "full", False)


def test_a_vae_without_effect_is_told(generate):
    """Given a VAE and a tiny decoder, when text becomes an image, then a warning says that the VAE is not used."""
    assert "vae: it is not used" in generate(ckpt="sd15", vae="soft", decoder="tiny").warnings[0]
    assert generate(ckpt="sd15", vae="soft").warnings == ()


@pytest.mark.parametrize(("upscaler", "is_told"), [("lanczos", False), ("latent", True)])
def test_a_vae_that_encodes_for_the_second_pass_has_an_effect(generate, upscaler, is_told):
    """Given a VAE and a tiny decoder, when an image is drawn in two passes, then a warning says that the VAE is not
    used where the second starts from latents, and none where it starts from an image, which the VAE encodes."""
    request = generate(ckpt="sd15", vae="soft", decoder="tiny", hires={"scale": 2, "upscaler": upscaler})
    assert any("vae: it is not used" in each for each in request.warnings) is is_told
