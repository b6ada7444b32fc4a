"""How the answer travels: links, base64 or both; streams; what is said of fields without effect."""

import pytest

from api.dialects.openai.answering import answering
from shared.errors import InvalidRequest


@pytest.mark.parametrize(
    ("body", "url", "b64"),
    [
        ({"response_format": "url"}, True, False),
        ({"response_format": "b64_json"}, False, True),
        ({"response_format": "url", "model": "gpt-image-1"}, True, False),
        ({}, True, True),
        ({"response_format": None, "model": None}, True, True),
        ({"model": "dall-e-3"}, True, True),
        ({"model": "demo"}, True, True),
        ({"model": "gpt-image-1-mini"}, False, True),
        ({"model": "chatgpt-image-latest"}, False, True),
        ({"model": 5}, True, True),
    ],
)
def test_links_and_base64_follow_what_clients_read(body, url, b64):
    """Given a response_format, then that alone; without one, base64 alone by the names whose clients want that."""
    asked = answering(body, links_need_key=False)
    assert (asked.url, asked.b64) == (url, b64)


def test_links_that_need_a_key_are_given_on_demand_only():
    """Given private results, when no format is asked for, then base64 alone; links come with a word of warning."""
    assert not answering({}, links_need_key=True).url
    asked = answering({"response_format": "url"}, links_need_key=True)
    assert asked.url
    assert "PRIVATE_RESULTS" in asked.warnings[0]


@pytest.mark.parametrize(
    ("body", "stream", "partial"),
    [({}, False, 0), ({"stream": None, "partial_images": None}, False, 0), ({"stream": True}, True, 0),
     ({"stream": True, "partial_images": 3}, True, 3), ({"stream": False, "partial_images": 2}, False, 2)],
)  # fmt: skip
def test_a_stream_is_asked_for(body, stream, partial):
    """Given stream and partial_images, when read, then both are known."""
    asked = answering(body, links_need_key=False)
    assert (asked.stream, asked.partial_images) == (stream, partial)


@pytest.mark.parametrize(
    ("field", "value"),
    [("response_format", "file"), ("response_format", 1), ("response_format", []), ("stream", "yes"), ("stream", 1),
     ("partial_images", 4), ("partial_images", -1), ("partial_images", True), ("partial_images", 1.5),
     ("partial_images", [])],
)  # fmt: skip
def test_what_an_answer_cannot_be_is_refused(field, value):
    """Given another value, when read, then the field is refused by its name."""
    with pytest.raises(InvalidRequest) as caught:
        answering({field: value}, links_need_key=False)
    assert set(caught.value.fields) == {field}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"user": "me", "moderation": "auto", "style": None}, []),
        ({"style": "vivid", "moderation": "low"}, ["moderation", "style"]),
        ({"generator_device": "cuda"}, ["generator_device"]),
        ({"image": b"one"}, []),
        ({"image": [b"one", b"two", b"three"]}, ["image: only the first one is drawn on; 2 more"]),
        ({"image": b"one", "image[]": b"two"}, ["image: only the first one is drawn on; 1 more"]),
    ],
)
def test_what_has_no_effect_is_said(body, said):
    """Given fields that change nothing, when read, then a warning names each that a client may have meant."""
    warnings = answering(body, links_need_key=False).warnings
    assert len(warnings) == len(said)
    assert all(warning.startswith(words) for warning, words in zip(warnings, said, strict=True))
