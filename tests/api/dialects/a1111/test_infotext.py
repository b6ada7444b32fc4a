"""Reading the text of parameters out of images."""

import pytest

from api.dialects.a1111.infotext import fields_of_infotext
from api.dialects.receipts.infotext import read_infotext

TEXT = (
    "a cat, (red:1.2)\non two lines\nNegative prompt: a dog,\nugly\n"
    'Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 512x768, Model: "my: model, 2", Version: v1.10.1'
)


def test_every_part_is_found():
    """Given an infotext, when read, then prompts, values, quoted texts and the two sides of a size are there."""
    assert read_infotext(TEXT) == {
        "Prompt": "a cat, (red:1.2)\non two lines", "Negative prompt": "a dog,\nugly", "Steps": "20",
        "Sampler": "Euler a", "CFG scale": "7.5", "Seed": "42", "Size-1": "512", "Size-2": "768",
        "Model": "my: model, 2", "Version": "v1.10.1",
    }  # fmt: skip


def test_fields_are_those_of_a_body():
    """Given an infotext, when made to fields, then they ask for the same."""
    assert fields_of_infotext(TEXT) == {
        "prompt": "a cat, (red:1.2)\non two lines", "negative_prompt": "a dog,\nugly", "steps": "20",
        "sampler_name": "Euler a", "cfg_scale": "7.5", "seed": "42", "width": "512", "height": "768",
        "override_settings": {"sd_model_checkpoint": "my: model, 2"},
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a cat", "a cat\nSteps: 20, Seed: 4", "Note: this: is a prompt"])
def test_a_text_without_values_is_a_prompt(text):
    """Given a text whose last line has too few values, when read, then all of it is the prompt."""
    assert read_infotext(text) == {"Prompt": text, "Negative prompt": ""}


def test_nothing_is_nothing():
    """Given an empty text, when read, then nothing is found."""
    assert read_infotext(" \n") == {}


@pytest.mark.parametrize(
    "text",
    ["a" * 500_000, "a:" * 200_000, '"' * 100_000, 'A b: "' + "\\" * 9_000, ", " * 4_000, "a" + " " * 9_000 + "b"],
    ids=lambda text: text[:9],
)
def test_a_hostile_text_is_read_at_once(text):
    """Given long texts made to be slow, when read, then they are prompt or values (this test would not end else)."""
    assert set(read_infotext(text)) >= {"Prompt", "Negative prompt"}
