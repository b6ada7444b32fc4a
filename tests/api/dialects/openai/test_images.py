"""POST /v1/images/*: answers, links, jobs behind them, and what does not depend on the dialect."""

import base64
import io
import json

import pytest
from PIL import Image

from shared.jobs.records import State
from shared.settings import DUMMY_API_KEY
from tests.api.conftest import encoded_image
from tests.api.dialects.openai.conftest import KEY, OpenAIClient, error_of


def opened(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_a_prompt_alone_gives_an_image(world, openai):
    """Given a prompt alone, when posted, then the image comes as base64 and as a link, with what it was made with."""
    answer = openai.post()

    assert answer.status_code == 200, answer.text
    body = answer.json
    job = world.services.jobs.get(body["id"])
    assert job.state is State.SUCCESS
    [image] = body["data"]
    assert opened(image["b64_json"]).format == "PNG"
    assert image["url"] == f"http://localhost/images/{job.id}/{job.images[0].name}"
    assert image["seed"] == job.images[0].seed
    assert (body["size"], body["quality"], body["output_format"], body["background"]) == (
        "128x128", "medium", "png", "opaque",
    )  # fmt: skip
    assert (body["created"], body["model"]) == (int(job.finished), "demo")
    assert "usage" not in body
    assert answer.headers["X-Task-Id"] == answer.headers["X-Request-Id"] == job.id
    assert int(answer.headers["Content-Length"]) == len(answer.data)


def test_a_link_is_fetched_without_a_key(openai):
    """Given a link of an answer, when fetched without a key, then it is the same image, and its path has an ending."""
    [image] = openai.post(output_format="webp").json["data"]
    path = image["url"].removeprefix("http://localhost")
    assert path.endswith(".webp")
    fetched = openai.get(path, headers={})
    assert (fetched.status_code, fetched.mimetype) == (200, "image/webp")
    assert fetched.data == base64.b64decode(image["b64_json"])


def test_each_image_has_the_next_seed(openai):
    """Given n, when posted, then so many images come, with seeds that count up."""
    data = openai.post(n=3, seed=4294967295).json["data"]
    assert [image["seed"] for image in data] == [4294967295, 0, 1]
    assert len({image["b64_json"] for image in data}) == 3


@pytest.mark.parametrize(("body", "keys"), [
    ({"response_format": "url"}, {"url", "seed"}),
    ({"response_format": "b64_json"}, {"b64_json", "seed"}),
    ({"model": "gpt-image-1"}, {"b64_json", "seed"}),
    ({"model": "dall-e-3"}, {"b64_json", "url", "seed"}),
])  # fmt: skip
def test_an_image_has_what_the_client_reads(openai, body, keys):
    """Given a response_format or a model's name, when posted, then each image has these keys alone."""
    [image] = openai.post(**body).json["data"]
    assert set(image) == keys


def test_a_size_that_the_model_cannot_draw_is_said_to_be_enlarged(world, openai):
    """Given 1024x1024, when posted, then the answer says this size, and the warnings at which it was drawn."""
    body = openai.post(size="1024x1024").json
    assert body["size"] == "1024x1024"
    assert "generated at 512x512 and resized to 1024x1024" in body["warnings"][0]
    request = world.services.jobs.get(body["id"]).request
    assert (request.params.width, request.result_size) == (512, (1024, 1024))


def test_an_edit_starts_from_the_file_of_a_form(world, openai):
    """Given a form with a file and texts, when posted, then the job starts from it, with all parameters."""
    answer = openai.form(
        image=(io.BytesIO(encoded_image("png", size=(96, 64))), "a.png"), prompt="a dog", n="2", seed="7", steps="3",
        strength="0.5", size="auto", response_format="b64_json",
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    request = world.services.jobs.get(answer.json["id"]).request
    assert (request.kind, request.prompts, request.image_count, request.seed) == ("img2img", ("a dog",), 2, 7)
    assert (request.params.strength, request.params.steps) == (0.5, 3)
    assert answer.json["size"] == "96x64"
    assert len(answer.json["data"]) == 2


def test_several_files_are_told_of(openai):
    """Given image[] twice, when posted, then the first is drawn on, and a warning says so of the other."""
    files = [(io.BytesIO(encoded_image("png")), "a.png"), (io.BytesIO(b"never read"), "b.png")]
    answer = openai.form(**{"image[]": files, "prompt": "a dog"})
    assert answer.status_code == 200, answer.text
    assert any("only the first one is drawn on" in warning for warning in answer.json["warnings"])


@pytest.mark.parametrize("path", ["/v1/images/edits", "/v1/images/variations"])
@pytest.mark.parametrize("dress", ["{}", "data:image/png;base64,{}", "\n data:;base64,{}\r\n"])
def test_an_image_may_come_as_json(world, openai, image_text, path, dress):
    """Given base64 in JSON, plain, with white space, or as a data: address, when posted, then it is drawn on."""
    answer = openai.post(path, image=dress.format(f"{image_text[:40]}\n {image_text[40:]}"))
    assert answer.status_code == 200, answer.text
    assert world.services.jobs.get(answer.json["id"]).request.kind == "img2img"


def test_a_variation_needs_an_image_alone(world, openai):
    """Given a file alone, when a variation is asked for, then it is drawn with an empty prompt."""
    answer = openai.form("/v1/images/variations", image=(io.BytesIO(encoded_image("png")), "a.png"))
    assert answer.status_code == 200, answer.text
    assert world.services.jobs.get(answer.json["id"]).request.prompts == ("",)


@pytest.mark.parametrize(("headers", "count", "address"), [
    ({}, 0, "http://localhost"),
    ({"Host": "box.lan:8080"}, 0, "http://box.lan:8080"),
    ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "images.example"}, 0, "http://localhost"),
    ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "images.example"}, 1, "https://images.example"),
    ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "images.example", "X-Forwarded-Prefix": "/draw/"}, 1,
     "https://images.example/draw"),
    ({"X-Forwarded-Host": "evil.example, images.example"}, 1, "http://images.example"),
    ({"X-Forwarded-Host": "images.example, inner"}, 2, "http://images.example"),
    ({"X-Forwarded-Proto": "ftp", "X-Forwarded-Host": "a b<"}, 1, "http://localhost"),
])  # fmt: skip
def test_links_are_on_the_host_of_the_request(world, headers, count, address):
    """Given a host, and what trusted proxies say of it, when posted, then links begin with what the client wrote."""
    openai = OpenAIClient(world, proxy_count=count, api_keys=("own",))
    answer = openai.post(headers={"X-API-Key": "own"} | headers)
    assert answer.json["data"][0]["url"].startswith(f"{address}/images/"), answer.text


def test_private_links_are_given_on_demand_only(world):
    """Given PRIVATE_RESULTS, when no format is asked for, then base64 alone; a link that is asked for needs the key."""
    openai = OpenAIClient(world, private_results=True)
    assert set(openai.post().json["data"][0]) == {"b64_json", "seed"}
    body = openai.post(response_format="url").json
    assert "PRIVATE_RESULTS" in body["warnings"][-1]
    path = body["data"][0]["url"].removeprefix("http://localhost")
    assert (openai.get(path, {}).status_code, openai.get(path).status_code) == (401, 200)


def test_a_marked_retry_joins_its_job(openai):
    """Given a request that was answered, when it comes again with the mark of a retry, then it is the same job."""
    first = openai.post(seed=1)
    again = openai.post(seed=1, headers=KEY | {"x-stainless-retry-count": "1"})
    assert again.json == first.json
    assert openai.jobs() == 1


def test_equal_requests_without_the_mark_stay_separate(openai):
    """Given two equal requests, when neither is marked, then they are two jobs."""
    assert openai.post(seed=1).json["id"] != openai.post(seed=1).json["id"]
    assert openai.jobs() == 2


def test_a_marked_retry_of_a_form_joins_its_job_whatever_its_boundary(openai):
    """Given a form, when it comes again with the mark and another boundary, then it is the same job."""
    answers = []
    for boundary, mark in (("first", {}), ("second", {"x-stainless-retry-count": "1"})):
        parts = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
            for name, file, data in (
                ("prompt", "", b"a dog"),
                ("image", '; filename="a.png"\r\nContent-Type: image/png', encoded_image("png")),
            )
        )
        answers.append(openai.http.post(
            "/v1/images/edits", data=parts + f"--{boundary}--\r\n".encode(),
            content_type=f"multipart/form-data; boundary={boundary}", headers=KEY | mark,
        ))  # fmt: skip
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    assert answers[0].json["id"] == answers[1].json["id"]


def test_the_key_may_come_as_azure_clients_send_it(openai):
    """Given the header api-key and a query, when posted, then both are understood."""
    answer = openai.post("/v1/images/generations?api-version=2025-04-01", headers={"api-key": DUMMY_API_KEY})
    assert answer.status_code == 200, answer.text


def test_options_needs_no_key(openai):
    """Given OPTIONS, which some clients send to see whether anybody is there, then it is answered without a key."""
    assert openai.http.options("/v1/images/generations").status_code == 200


def test_a_page_may_ask_and_read_errors(world):
    """Given CORS_ORIGINS, when a page asks first and then posts with a wrong key, then it may read the error."""
    openai = OpenAIClient(world, cors_origins=("https://page.example",))
    asking = {
        "Origin": "https://page.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
    }  # fmt: skip
    preflight = openai.http.options("/v1/images/generations", headers=asking)
    assert preflight.status_code == 200
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    assert {"authorization", "content-type", "x-stainless-lang"} <= set(allowed.split(", "))
    answer = openai.post(headers={"Origin": "https://page.example", "Authorization": "Bearer wrong"})
    error_of(answer, 401)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"


def test_the_record_is_that_of_native(world, openai):
    """Given the same parameters and seed in both dialects, when both jobs are done, then records and images agree."""
    parameters = {"prompt": "a cat", "seed": 3, "n_iter": 2, "W": 64, "H": 128, "ddim_steps": 4, "scale": 2.5}
    native = world.services.jobs.get(world.submit(**parameters))
    answer = openai.post(seed=3, n=2, size="64x128", steps=4, cfg_scale=2.5).json
    job = world.services.jobs.get(answer["id"])
    assert job.request == native.request
    assert job.owner == native.owner
    assert [image.name for image in job.images] == [image.name for image in native.images]
    read = world.services.results.read
    for mine, theirs in zip(job.images, native.images, strict=True):
        assert read(job.folder, mine.name) == read(native.folder, theirs.name)


def test_models_are_listed_with_the_default_first(world, openai):
    """Given models and no worker, when listed, then all are there as OpenAI lists them, the default first."""
    body = openai.get("/v1/models").json
    assert body["object"] == "list"
    assert body["data"][0] == {"id": "demo", "object": "model", "created": 0, "owned_by": "personal-diffusion"}
    assert [model["id"] for model in body["data"]] == [model.name for model in world.services.catalogue]


@pytest.mark.parametrize("name", ["demo", "tiny", "default", "gpt-image-1"])
def test_a_model_is_found_by_every_name_that_a_request_may_use(openai, name):
    """Given a name, an alias or one of OpenAI's, when asked for, then there is such a model."""
    assert openai.get(f"/v1/models/{name}").json["id"] == name


def test_the_answer_is_json_whatever_the_prompt(openai):
    """Given a prompt with any characters, when posted, then the answer is valid JSON."""
    answer = openai.post(prompt='"käse" 🧀 \\ \n</script>', style="vivid")
    assert json.loads(answer.data)["warnings"][-1] == "style: has no effect here."
