"""Prompts as text: emphasis, weighted sub-prompts, the notations of other programs."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from shared.request.prompts import SubPrompt, normalised, parse_emphasis, parse_prompt, split_subprompts

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
        ("(x:" + "9" * 20 + ")", [("x", 1000)]),
        ("(x:" + "9" * 21 + ")", [("x:" + "9" * 21, UP)]),
        ("((x:0):" + "9" * 20 + ")", [("x", 0)]),
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


HOSTILE = [
    "(", "(a", "[a", "([", ")", "\\", "a:", ": ", ":1 ", "a:1 ", "1:1 ", "(a:1", "[a|", "[a:1:1", "((a:1.5", "<a:",
    "<lora:a:1>", "__a", "{a|b}", "AND ", "BREAK ", " ", "9", ".9", "(x:0)", "]:1]", "embedding:", "😀:1 ",
]  # fmt: skip


def lines_run(call: Callable[[], object]) -> int:
    """How many lines of Python `call` runs."""
    count = 0

    def trace(*_: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("prefix", ["", "(a:"])
def test_ten_times_the_text_is_ten_times_the_work(prefix: str, piece: str) -> None:
    """Given ten times as much of a hostile text, when it is parsed, then about ten times as much is done."""
    short, long = (prefix + piece * (length // len(piece)) for length in (1_000, 10_000))
    parse = parse_prompt.__wrapped__
    assert lines_run(lambda: parse(long)) < 14 * lines_run(lambda: parse(short))


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
def test_a_huge_text_is_parsed_in_one_pass(piece: str) -> None:
    """Given ten times the longest prompt, when parsed, then there is a result: a quadratic search has no end."""
    text = "a:" + piece * (100_000 // len(piece))
    assert parse_prompt.__wrapped__(text + ")").parts


@pytest.mark.parametrize("text", ["(" * 5000 + "a", "(a" * 3333, "(a" * 2000 + ")" * 4000, "[" * 9000, "\\" * 9999])
def test_no_nesting_makes_a_weight_infinite(text: str) -> None:
    """Given ten thousand brackets, when they are parsed, then every weight is within bounds."""
    assert all(abs(fragment.weight) <= 1000 for fragment in parse_emphasis(text))


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [("", 1)]),
        ("a cat", [("a cat", 1)]),
        ("  a cat ", [("  a cat ", 1)]),
        ("tabby cat:0.25 white duck:0.75", [("tabby cat", 0.25), ("white duck", 0.75)]),
        ("tabby cat:0.25 white duck", [("tabby cat", 0.25), ("white duck", 1)]),
        ("a cat:2 a dog", [("a cat", 2), ("a dog", 1)]),
        ("a (cat:1.2):0.5 a dog:0.5", [("a (cat:1.2)", 0.5), ("a dog", 0.5)]),
        ("masterpiece, 4k:0.5 a dog:.5", [("masterpiece, 4k", 0.5), ("a dog", 0.5)]),
        ("a cat :2 a dog", [("a cat", 2), ("a dog", 1)]),
        ("a cat:" + "9" * 20, [("a cat", 1e20)]),
        ("cat: duck:2", [("cat: duck", 2)]),
        ("cat:", [("cat:", 1)]),
        ("picture: a red circle", [("picture: a red circle", 1)]),
        ("16:9 a red circle", [("16:9 a red circle", 1)]),
        ("a tv of 16:9", [("a tv of 16:9", 1)]),
        ("a tv of 16:9 at home:2 a cat", [("a tv of 16:9 at home", 2), ("a cat", 1)]),
        ("at 7:30 and 10:30:15 ", [("at 7:30 and 10:30:15 ", 1)]),
        ("John 3:16 in stone", [("John 3:16 in stone", 1)]),
        ("a map at 1:10 and 1 :10", [("a map at 1:10 and 1 :10", 1)]),
        ("won 2-1:3 and 1/2:1 and 1,000:1", [("won 2-1:3 and 1/2:1 and 1,000:1", 1)]),
        ('"16:9 screen, (4:3 screen', [('"16:9 screen, (4:3 screen', 1)]),
        ("١٦:٩ شاشة", [("١٦:٩ شاشة", 1)]),
        (":2 cat", [(":2 cat", 1)]),
        ("cat:1 :2 dog", [("cat", 1), (":2 dog", 1)]),
        ("cat:1.", [("cat", 1)]),
        ("cat:.5\nduck:-2", [("cat", 0.5), ("duck", -2)]),
        ("3:4 aspect", [("3:4 aspect", 1)]),
        ("at 10:30", [("at 10:30", 1)]),
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
        ([3, -1], [1, -1 / 3]),
        ([1, -2], [1, -2]),
        ([1, -1], [1, -1]),
        ([1, -0.99], [1, -0.99]),
        ([1, 1, -2], [0.5, 0.5, -1]),
        ([-1, -3], [-0.25, -0.75]),
        ([0.0], [1.0]),
        ([0, 0], [0.5, 0.5]),
        ([0, -2], [0, -1]),
        ([1.0000001, -1], [1, -1 / 1.0000001]),
        ([1e-9, 3e-9], [0.25, 0.75]),
        ([1e-20, -1e20], [1, -1000]),
        ([1e300, 1e300, -1e308], [0.5, 0.5, -1000]),
    ],
)
def test_shares_keep_every_sign_and_are_bounded(weights: list[float], shares: list[float]) -> None:
    """Given weights, when they are normalised, then the positive ones sum to 1 and none changes its sign."""
    assert normalised(weights) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a cat", []),
        ("16:9 picture: a cat", []),
        (r"at 7\:30", []),
        (
            "cat:0.25 duck:0.75",
            ["2 sub-prompts by the weights behind colons: 'cat' (share 0.25), 'duck' (share 0.75);"],
        ),
        ("a cat:7", ["1 sub-prompt by the weights behind colons: 'a cat' (share 1);"]),
        ("cat:1 dog:-2", ["'dog' (share -2)", "sum to -1, which is not positive"]),
        ("cat:1 dog:-1", ["'dog' (share -1)", "sum to 0, which is not positive"]),
        ("cat:-3", ["share 1", "sum to -3, which is not positive"]),
        ("a:1 " * 20, [" and 12 more;"]),
        ("a cat on a mat " * 9 + ":2 b", ["'a cat on a mat a cat on a mat a cat on a...'"]),
    ],
)
def test_a_prompt_that_was_split_says_so(prompt: str, said: list[str]) -> None:
    """Given weights behind colons, when a prompt is parsed, then a remark names the parts and their shares."""
    remarks = parse_prompt(prompt).remarks
    assert len(remarks) == len(said)
    for remark, words in zip(remarks, said, strict=True):
        assert words in remark
        assert len(remark) < 1000


@pytest.mark.parametrize(
    ("prompt", "left", "said"),
    [
        ("a cat <lora:nice_v2:0.8>", "a cat ", ["<lora:nice_v2:0.8> was taken out"]),
        ("<lora:x>a cat", "a cat", ["<lora:x> was"]),
        (
            "a <LyCo:x:1:0.5> cat <hypernet:y:.7> <lora:x:te=0.5:unet=1>",
            "a  cat  ",
            ["<LyCo:x:1:0.5>, <hypernet:y:.7>, "],
        ),
        ("a <glow:soft:1.2> cat", "a  cat", ["<glow:soft:1.2> was"]),
        ("<lora:x:1> <lora:x:1> a", "  a", ["<lora:x:1> was taken out"]),
        ("".join(f"<lora:x{n}:1>" for n in range(9)), "", ["<lora:x4:1> and 4 more were taken out"]),
        (r"a \<lora:x:1>", "a <lora:x:1>", []),
        ("a < b <c> <d:e> <http://host:80> x<3", "a < b <c> <d:e> <http://host:80> x<3", []),
        ("a <lora:x:0.8>cat:2 a dog:2", None, ["2 sub-prompts", "<lora:x:0.8> was taken out"]),
    ],
)
def test_tags_of_other_programs_are_taken_out_and_named(prompt: str, left: str | None, said: list[str]) -> None:
    """Given tags, when a prompt is parsed, then they are no words of it, and a remark names them."""
    parsed = parse_prompt(prompt)
    if left is not None:
        assert "".join(fragment.text for fragment in parsed.parts[0].fragments) == left
    assert len(parsed.remarks) == len(said)
    assert all(words in remark for remark, words in zip(parsed.remarks, said, strict=True))


@pytest.mark.parametrize(
    ("prompt", "forms"),
    [
        ("a [red:green:0.5] circle", ["[x:y:n]"]),
        ("a [cat::5] [dog:0.3] [(red:1.2):green: .5 ] [[a]:b:3]", ["[x:y:n]"]),
        ("a [cow|horse]", ["[x|y]"]),
        ("a {red|blue} circle", ["{x|y}"]),
        ("a cat AND a dog", ["AND"]),
        ("a cat :1.2 AND a dog :0.8", ["it was read as", "AND"]),
        ("(embedding:bad-hands:1.2)", ["embedding:x"]),
        ("a __colours/warm__ hat", ["__x__"]),
        ("[a:b:1] {c|d} e AND f", ["[x:y:n]", "{x|y}", "AND"]),
        (r"a \[red:green:0.5\] \[a|b\] \{a|b\} \AND \__a__ embedding\:x", []),
        (r"[a\:b\:0.5] [a\|b]", []),
        ("SAND and ANDES, R-AND-B, _x_ ______ {a} [a] a|b (a|b) [cat: dog] (cat:1.3) embedding: a", []),
    ],
)
def test_notations_of_other_programs_are_named(prompt: str, forms: list[str]) -> None:
    """Given a notation that means something else here, when parsed, then a remark says so; escaped ones give none."""
    remarks = parse_prompt(prompt).remarks
    assert [remark.startswith(form) for remark, form in zip(remarks, forms, strict=True)] == [True] * len(forms)


def test_remarks_are_short_and_can_be_printed() -> None:
    """Given a hostile prompt, when it is parsed, then what is said about it is short, and is no line of its own."""
    remarks = parse_prompt("a\nb" * 500 + ":1 " + "<lora:\n" + "x" * 190 + ":1>" * 30 + " c:1").remarks
    assert all(len(remark) < 1000 and "\n" not in remark for remark in remarks)
    assert len(json.dumps(remarks)) < 2000
