"""What a family's facts decide for a request, of which the API knows nothing else."""

import dataclasses
from types import MappingProxyType

import pytest

from shared.catalogue import models
from shared.catalogue.families import FAMILY_FACTS
from shared.catalogue.models import Catalogue
from shared.errors import InvalidRequest
from shared.request import parameters
from shared.request.limits import Limits
from shared.request.parameters import wire_parameters


@pytest.fixture
def limits(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> Limits:
    """With a model of a family that has 16 latent channels, factor 4 and sides that are multiples of 32."""
    other_facts = dataclasses.replace(
        FAMILY_FACTS["sd1"], latent_channels=16, downsampling_factor=4, size_step=32, native_size=96
    )
    facts = MappingProxyType({**FAMILY_FACTS, "other": other_facts})
    for module in (models, parameters):
        monkeypatch.setattr(module, "FAMILY_FACTS", facts)
    demo = limits.catalogue.default
    other = dataclasses.replace(demo, name="other", aliases=(), family="other", native_size=96)
    return dataclasses.replace(limits, catalogue=Catalogue({"demo": demo, "other": other}, "demo"))


def test_a_request_is_told_the_facts_of_its_model_s_family(generate, img2img):
    """Given models of two families, when they are asked for, then C, f and the size of the image are each family's."""
    told = wire_parameters(generate(ckpt="other"))
    assert (told["C"], told["f"], told["W"]) == (16, 4, 96)
    told = wire_parameters(generate())
    assert (told["C"], told["f"], told["W"]) == (4, 8, 128)
    # 96x64 is asked for with a height of 128
    assert (img2img(ckpt="other", H=128)[0].params.width, img2img(H=72)[0].params.width) == (192, 112)


def test_what_is_not_the_family_s_is_refused(generate):
    """Given C, f and a size that suit one family, when asked of another, then all three are named."""
    assert generate(ckpt="other", C=16, f=4, W=96).family == "other"
    with pytest.raises(InvalidRequest) as refused:
        generate(ckpt="other", C=4, f=8, W=72)
    assert refused.value.fields == {
        "C": ["Must be 16, the latent channels of this model."],
        "f": ["Must be 4, the down-sampling factor of this model."],
        "W": ["Must be a multiple of 32."],
    }
