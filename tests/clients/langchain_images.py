"""LangChain's wrapper of OpenAI's images, which reads links alone and knows no seed."""

import os
import urllib.request

import openai
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

URL, FULL_URL, KEY = os.environ["SERVICE_URL"], os.environ["FULL_SERVICE_URL"], os.environ["SERVICE_KEY"]
PROMPT = "a red circle on a blue background"


def wrapper(url: str = URL, key: str = KEY, size: str = "128x64", **options: object) -> DallEAPIWrapper:
    return DallEAPIWrapper(base_url=f"{url}/v1", api_key=key, size=size, max_retries=0, **options)


def size_at(link: str) -> tuple[int, int]:
    """Width and height of the PNG that a link leads to."""
    with urllib.request.urlopen(link) as answer:  # noqa: S310
        data = answer.read()
    assert data[:4] == b"\x89PNG", data[:20]
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def fails(kind: type[Exception], made: DallEAPIWrapper, prompt: str = PROMPT) -> None:
    try:
        made.run(prompt)
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


assert size_at(wrapper().run(PROMPT)) == (128, 64)
links = wrapper(n=2).run(PROMPT).split(wrapper().separator)
assert [size_at(link) for link in links] == [(128, 64)] * 2
fails(openai.AuthenticationError, wrapper(key="wrong"))
fails(openai.NotFoundError, wrapper(model="nope"))
fails(openai.BadRequestError, wrapper(size="banana"))
fails(openai.BadRequestError, wrapper(), prompt="")
fails(openai.RateLimitError, wrapper(url=FULL_URL))
