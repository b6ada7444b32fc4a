"""LangChain's wrapper of OpenAI's images, which reads links alone."""

import os
import urllib.request

import openai
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

URL, FULL_URL, KEY = os.environ["SERVICE_URL"], os.environ["FULL_SERVICE_URL"], os.environ["SERVICE_KEY"]
PROMPT = "a red circle on a blue background"


def wrapper(url: str = URL, key: str = KEY, **options: object) -> DallEAPIWrapper:
    few = {"extra_body": {"steps": 1, "seed": 7}} | dict(options.pop("model_kwargs", {}))  # type: ignore[call-overload]
    return DallEAPIWrapper(openai_api_base=f"{url}/v1", openai_api_key=key, model_kwargs=few, max_retries=0, **options)


def image_at(link: str) -> bytes:
    with urllib.request.urlopen(link) as answer:  # noqa: S310
        return bytes(answer.read())


def fails(kind: type[Exception], made: DallEAPIWrapper, prompt: str = PROMPT) -> None:
    try:
        made.run(prompt)
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


first, second = (image_at(wrapper(size="640x320").run(PROMPT)) for _ in range(2))
assert first[:4] == b"\x89PNG"
assert (int.from_bytes(first[16:20]), int.from_bytes(first[20:24])) == (640, 320)
assert first == second
assert len(wrapper(n=2, size="128x128").run(PROMPT).split(wrapper().separator)) == 2
fails(openai.AuthenticationError, wrapper(key="wrong"))
fails(openai.NotFoundError, wrapper(model_name="nope"))
fails(openai.BadRequestError, wrapper(size="banana"))
fails(openai.BadRequestError, wrapper(), prompt="")
fails(openai.RateLimitError, wrapper(url=FULL_URL))
