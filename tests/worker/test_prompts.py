"""Prompts as text: emphasis, weighted sub-prompts, chunks."""

import time

import pytest

from worker.prompts import Chunk, Fragment, SubPrompt, chunks, normalised, parse_emphasis, split_subprompts

UP, DOWN = 1.1, 1 / 1.1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("", 1)]),
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", UP), (" word", 1)]),
        ("(unbalanced", [("unbalanced", UP)]),
        ("a [faint", [("a ", 1), ("faint", DOWN)]),
        (r"\(literal\]", [("(literal]", 1)]),
        (r"\[a\) \\ b", [("[a) \\ b", 1)]),
        (r"a\:b", [("a:b", 1)]),
        ("a trailing \\", [("a trailing ", 1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", UP)]),
        ("((dragon)) [[[guitar]]]", [("dragon", UP**2), (" ", 1), ("guitar", DOWN**3)]),
        ("(x:1.3)", [("x", 1.3)]),
        ("(x: .5 )", [("x", 0.5)]),
        ("(x:-1)", [("x", -1)]),
        ("(x:+2.)", [("x", 2)]),
        ("((x:1.3))", [("x", 1.3 * UP)]),
        ("(a (b:1.3) c:2)", [("a ", 2), ("b", 1.3 * 2), (" c", 2)]),
        ("(a:b:1.3)", [("a:b", 1.3)]),
        ("(x:1.2.3)", [("x:1.2.3", UP)]),
        ("(x:heavy)", [("x:heavy", UP)]),
        ("[x:1.3]", [("x:1.3", DOWN)]),
        ("x:1.3)", [("x:1.3)", 1)]),
        ("a) b] c", [("a) b] c", 1)]),
        ("(a] b)", [("a] b", UP)]),
        ("([x])", [("x", UP * DOWN)]),
        ("()", [("", 1)]),
        ("(:1.3)", [("", 1)]),
        ("at 10:30", [("at 10:30", 1)]),
        ("(x:1e9999)", [("x:1e9999", UP)]),
        ("(x:" + "9" * 400 + ")", [("x", 1000)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1),
                ("house", 1.3 * UP**2),
                (" ", UP),
                ("on", DOWN * UP),
                (" a ", UP),
                ("hill", 0.5 * UP),
                (", sun, ", UP),
                ("sky", UP**4),
                (".", UP),
            ],
        ),
    ],
)
def test_emphasis_follows_the_rules_of_the_web_ui(text: str, expected: list[tuple[str, float]]) -> None:
    """Given a prompt with brackets, when it is parsed, then each text has the weight the A1111 web UI gives it."""
    found = [(fragment.text, fragment.weight) for fragment in parse_emphasis(text)]
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a BREAK b", [("a", False), ("b", True)]),
        ("BREAK a", [("", False), ("a", True)]),
        ("a BREAK", [("a", False), ("", True)]),
        ("(a BREAK b)", [("a", False), ("b", True)]),
        ("a BREAK BREAK b", [("a", False), ("", True), ("b", True)]),
        ("BREAKFAST break", [("BREAKFAST break", False)]),
    ],
)
def test_break_starts_a_chunk(text: str, expected: list[tuple[str, bool]]) -> None:
    """Given the word BREAK, when a prompt is parsed, then what follows starts a chunk; longer words do not count."""
    assert [(fragment.text, fragment.starts_chunk) for fragment in parse_emphasis(text)] == expected


@pytest.mark.parametrize("text", ["(" * 5000 + "a", "(a" * 3333, "(a" * 2000 + ")" * 4000, "[" * 9000, "\\" * 9999])
def test_any_nesting_is_parsed_in_good_time(text: str) -> None:
    """Given ten thousand brackets, when they are parsed, then it takes no minute and no weight is infinite."""
    begin = time.monotonic()
    assert all(abs(fragment.weight) <= 1000 for fragment in parse_emphasis(text))
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [("", 1)]),
        ("a cat", [("a cat", 1)]),
        ("  a cat ", [("  a cat ", 1)]),
        ("tabby cat:0.25 white duck:0.75", [("tabby cat", 0.25), ("white duck", 0.75)]),
        ("tabby cat:0.25 white duck", [("tabby cat", 0.25), ("white duck", 1)]),
        ("cat: duck:2", [("cat", 1), ("duck", 2)]),
        ("cat:", [("cat", 1)]),
        ("cat:1.", [("cat", 1)]),
        ("cat:.5\nduck:-2", [("cat", 0.5), ("duck", -2)]),
        ("3:4 aspect", [("3", 4), ("aspect", 1)]),
        ("at 10:30", [("at 10", 30)]),
        ("a (cat:1.3) here", [("a (cat:1.3) here", 1)]),
        ("[a:b:0.5] (cat:2 dog:3", [("[a:b:0.5] (cat:2 dog:3", 1)]),
        (r"\(cat:2 dog", [(r"\(cat", 2), ("dog", 1)]),
        (r"at 10\:30", [(r"at 10\:30", 1)]),
        ("a) cat:2", [("a) cat", 2)]),
        ("cat:heavy duck:2", [("cat:heavy duck", 2)]),
        ("cat:0.5.5 duck", [("cat:0.5.5 duck", 1)]),
        ("cat:2, duck", [("cat:2, duck", 1)]),
        ("cat:nan duck:inf", [("cat:nan duck:inf", 1)]),
        ("cat:" + "9" * 400, [("cat:" + "9" * 400, 1)]),
        ("http://host:80/x", [("http://host:80/x", 1)]),
        ("a::b", [("a::b", 1)]),
    ],
)
def test_weighted_subprompts_are_split(prompt: str, expected: list[tuple[str, float]]) -> None:
    """Given numbers after colons, when a prompt is split, then only well-formed ones outside brackets count."""
    assert split_subprompts(prompt) == [SubPrompt(text, weight) for text, weight in expected]


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ([1.0], [1.0]),
        ([0.25, 0.75], [0.25, 0.75]),
        ([1, 3], [0.25, 0.75]),
        ([3, -1], [1.5, -0.5]),
        ([0.0], [1.0]),
        ([0, 0], [0.5, 0.5]),
        ([1, -1], [0.5, 0.5]),
        ([1.0000001, -1], [0.5, 0.5]),
        ([1e-9, 3e-9], [0.25, 0.75]),
        ([1e300, 1e300, -1e308], [1 / 3] * 3),
    ],
)
def test_weights_are_normalised_and_never_explode(weights: list[float], shares: list[float]) -> None:
    """Given weights, when they are normalised, then they sum to 1; nearly cancelling ones become equal."""
    if weights[0] == 1e300:
        assert sum(normalised(weights)) == pytest.approx(1)
    else:
        assert normalised(weights) == pytest.approx(shares)


def by_letter(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def test_chunks_hold_75_tokens() -> None:
    """Given 160 tokens, when they are cut, then chunks hold 75, 75 and 10, each token with its weight."""
    cut = chunks([Fragment("a" * 100, 1.0), Fragment("b" * 60, 1.5)], by_letter)
    assert [len(chunk.ids) for chunk in cut] == [75, 75, 10]
    assert cut[1] == Chunk((97,) * 25 + (98,) * 50, (1.0,) * 25 + (1.5,) * 50)


@pytest.mark.parametrize(
    ("text", "lengths"),
    [("", [0]), ("a" * 75, [75]), ("a" * 76, [75, 1]), ("ab BREAK c", [2, 1]), ("BREAK c", [0, 1]), ("c BREAK", [1])],
)
def test_chunks_begin_at_breaks_and_there_is_always_one(text: str, lengths: list[int]) -> None:
    """Given a prompt of any length, when it is cut, then a BREAK ends a chunk and no prompt has none."""
    assert [len(chunk.ids) for chunk in chunks(parse_emphasis(text), by_letter)] == lengths
