"""A1111's names of models."""

import pytest

from api.dialects.a1111.names import checkpoint_entry, title_of
from api.dialects.checkpoints import find_checkpoint
from shared.catalogue.entries import load_catalogue

CATALOGUE = load_catalogue("demo")


@pytest.mark.parametrize(
    "text",
    ["sd15", "SD15", " sd15 ", "sd15.safetensors", "sd15 [e3b0c44298]", "v1-5-pruned-emaonly.safetensors [6ce0161689]",
     "V1-5-Pruned-EmaOnly", "Stable Diffusion 1.5", "sd1.5"],
)  # fmt: skip
def test_a_model_is_found_by_whatever_clients_call_it(text):
    """Given a title, name, alias or file name, in any case, with or without a hash, when looked for, then found."""
    model = find_checkpoint(CATALOGUE, text)
    assert model is not None
    assert model.name == "sd15"


@pytest.mark.parametrize(
    "text",
    ["", "nothing", "[6ce0161689]", "sd15x", f"a{' ' * 1_000_000}b", "[" * 1_000_000],
    ids=lambda text: text[:20],
)
def test_a_foreign_model_is_none(text):
    """Given a text that names no model, when looked for, then there is none."""
    assert find_checkpoint(CATALOGUE, text) is None


def test_every_title_finds_its_model():
    """Given the entries of the list, when their texts are looked for, then each leads to its model."""
    for model in CATALOGUE:
        entry = checkpoint_entry(model)
        assert {find_checkpoint(CATALOGUE, entry[key]) for key in ("title", "model_name", "filename")} == {model}
        assert entry["title"] == title_of(model)
