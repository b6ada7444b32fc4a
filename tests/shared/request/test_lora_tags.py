"""Tags of LoRAs in a prompt: read as the A1111 web UI reads them, and written so that they are read again."""

import pytest

from shared.request.lora_tags import read_lora_tags, with_lora_tags


def entry(name, weight=1.0, text_weight=None):
    return {"name": name, "weight": weight, "text_weight": weight if text_weight is None else text_weight}


@pytest.mark.parametrize(
    ("prompt", "text", "loras"),
    [
        ("a cat <lora:sketch:0.8>, red", "a cat , red", [entry("sketch", 0.8)]),
        ("<lora:sketch>a cat", "a cat", [entry("sketch")]),
        ("<LoRA: my sketch : -.5 ><lyco:b:2><locon:c>", "", [entry("my sketch", -0.5), entry("b", 2.0), entry("c")]),
        ("<lora:a:0.5:0.7>", "", [entry("a", 0.7, 0.5)]),
        ("<lora:a:te=0.5:unet=0>", "", [entry("a", 0.0, 0.5)]),
        ("<lora:a:unet=0.3>", "", [entry("a", 0.3, 1.0)]),
        (r"\<lora:a:1> \\<lora:b:1>", r"\<lora:a:1> \\", [entry("b")]),
        ("<hypernet:a:1> <lora a:1> a < b", "<hypernet:a:1> <lora a:1> a < b", []),
    ],
)  # fmt: skip
def test_tags_are_taken_out_and_read(prompt, text, loras):
    """Given tags with one weight, two, by place and by name, when a prompt is read, then they are no words of it, and
    each is a LoRA; one behind a backslash is text."""
    tagged = read_lora_tags(prompt, 10, 8)
    assert (tagged.text, list(tagged.loras), tagged.problems) == (text, loras, ())


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("<lora:>", "it names no LoRA"), ("<lora: :1>", "it names no LoRA"), ("<lora:a:much>", "'much' is no weight"),
        ("<lora:a:nan>", "'nan' is no weight"), ("<lora:a:1e9>", "'1e9' is no weight; write a number from -10 to 10."),
        ("<lora:a:>", "'' is no weight"), ("<lora:a:unet=-11>", "'-11' is no weight"), ("<lora:a:inf>", "'inf' is"),
        ("<lora:a:1:1:4>", "more than two weights"), ("<lora:a:1:dyn=4>", "'dyn' is not supported here"),
    ],
)  # fmt: skip
def test_a_tag_that_says_nothing_is_named(tag, said):
    """Given a tag without a name or with a weight that is none, when read, then a sentence has the tag and what is
    wrong with it."""
    tagged = read_lora_tags(f"a cat {tag}", 10, 8)
    assert (tagged.text, tagged.loras) == ("a cat ", ())
    assert tagged.problems[0].startswith(f"{tag}: ")
    assert said in tagged.problems[0]


def test_of_many_tags_one_too_many_is_read():
    """Given 20,000 tags, good or bad, when read, then all are taken out, and no more are told than show that."""
    for tag in ("<lora:a:1>", "<lora:a:x>"):
        tagged = read_lora_tags(tag * 20_000, 10, 8)
        assert (tagged.text, len(tagged.loras) + len(tagged.problems)) == ("", 9)


@pytest.mark.parametrize("lora", [entry("a b", 0.8), entry("a", 1.0), entry("a", 0.25, -1.5), entry("ä", 1e-7)])
def test_what_is_written_is_read_again(lora):
    """Given LoRAs, when they are written behind a prompt and read again, then they are the same."""
    tagged = read_lora_tags(with_lora_tags("a cat", [lora, lora]), 10, 8)
    assert (tagged.text, tagged.loras) == ("a cat  ", (lora, lora))
    assert with_lora_tags("a cat", []) == "a cat"
