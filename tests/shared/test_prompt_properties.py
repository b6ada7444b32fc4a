"""What holds for every prompt, tried on prompts that nobody would think of."""

import math
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.request.prompts import normalised, parse_emphasis, parse_prompt, split_subprompts

# everything that the grammar knows is frequent, and everything else that JSON can carry is there
GRAMMAR = st.sampled_from([*r"()[]:\. ", "1.3", ":0.5", ":1.2)", " BREAK ", "cat", "((", "]]", ":-1)", "\n", "\\("])
ANY_PROMPT = st.lists(st.one_of(GRAMMAR, st.text(max_size=5)), max_size=40).map("".join)
PLAIN_TEXT = st.text(st.characters(exclude_characters="()[]:\\", exclude_categories=["Cs"]), max_size=60).filter(
    lambda text: "BREAK" not in text
)


def escaped(text: str) -> str:
    """The text as a prompt that means just this text."""
    return re.sub(r"([\\()\[\]:])", r"\\\1", text)


@settings(deadline=None, max_examples=400)
@given(ANY_PROMPT)
def test_no_prompt_is_an_error(prompt: str) -> None:
    """Given any text, when it is parsed, then every weight and share is finite and bounded."""
    parsed = parse_prompt(prompt)
    assert parsed.parts
    for part in parsed.parts:
        assert abs(part.share) <= 1000
        assert part.fragments
        assert all(abs(fragment.weight) <= 1000 for fragment in part.fragments)


@settings(deadline=None, max_examples=400)
@given(
    st.lists(
        st.sampled_from(["(", "((", "[", ")", "]", "a", ":0)", ":-1)", ":.001)", ":" + "9" * 20 + ")"]), max_size=300
    ).map("".join)
)
def test_no_product_of_weights_is_without_value(prompt: str) -> None:
    """Given weights that vanish inside weights that explode, when parsed, then each product is a number in bounds."""
    assert all(-1000 <= fragment.weight <= 1000 for fragment in parse_emphasis(prompt))


@settings(deadline=None, max_examples=400)
@given(st.lists(st.floats(-1e20, 1e20), min_size=1, max_size=9))
def test_shares_have_the_signs_of_their_weights(weights: list[float]) -> None:
    """Given any weights, when normalised, then no share has the other sign, and positive ones sum to 1."""
    shares = normalised(weights)
    if any(weights):
        assert all(share * weight >= 0 for share, weight in zip(shares, weights, strict=True))
    assert all(abs(share) <= 1000 for share in shares)
    if any(weight > 0 for weight in weights):
        assert math.isclose(math.fsum(share for share in shares if share > 0), 1)


@settings(deadline=None, max_examples=400)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda text: "BREAK" not in text))
def test_escaped_text_means_itself(text: str) -> None:
    """Given any text, when its special letters are escaped, then it is one sub-prompt and one fragment of weight 1."""
    (part,) = split_subprompts(escaped(text))
    (fragment,) = parse_emphasis(part.text)
    assert (fragment.text, fragment.weight) == (text, 1.0)


@settings(deadline=None)
@given(PLAIN_TEXT.filter(bool), st.floats(0.1, 10).map(lambda weight: round(weight, 3)))
def test_one_weight_for_everything_weighs_every_token_alike(text: str, weight: float) -> None:
    """Given plain text, when it is wrapped in one weight, then its tokens are those of the text and weigh the same."""
    (fragment,) = parse_emphasis(f"({text}:{weight})")
    assert fragment.text == text
    assert fragment.weight == weight


@settings(deadline=None)
@given(st.lists(PLAIN_TEXT.map(lambda text: f"{text} x".strip()), min_size=1, max_size=5), st.floats(0.01, 100))
def test_equal_weights_are_equal_shares(texts: list[str], weight: float) -> None:
    """Given sub-prompts of one weight, when they are split, then each has its text and the same share."""
    parts = split_subprompts(" ".join(f"{text}:{weight:.4f}" for text in texts))
    assert [part.text for part in parts] == texts
    assert all(math.isclose(share, 1 / len(texts)) for share in normalised([part.weight for part in parts]))


@settings(deadline=None)
@given(PLAIN_TEXT.filter(bool), st.integers(1, 6))
def test_brackets_multiply(text: str, depth: int) -> None:
    """Given plain text, when it is wrapped in brackets, then its weight grows by 1.1 for each, or shrinks."""
    (up,), (down,) = (parse_emphasis(left * depth + text + right * depth) for left, right in ("()", "[]"))
    assert math.isclose(up.weight, 1.1**depth)
    assert math.isclose(down.weight, 1.1**-depth)
