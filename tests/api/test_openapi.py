"""The API document against the standard, against the schemas, and against the application that it describes."""

import re
import sys

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from api.document import EXAMPLE_IMAGE_NAME, EXAMPLE_JOB_ID
from shared.jobs.workers import WorkerCard
from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.request.titles import TITLES
from shared.settings import DUMMY_API_KEY
from tests.api.documented import METHODS, examples, objections


@pytest.fixture
def document(client):
    return client.get("/openapi.json").get_json()


def operations(document):
    return {
        (path, method): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def resolve(document, schema):
    return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def test_the_document_is_valid_openapi(document):
    """Given the document, when checked against OpenAPI 3.0, then there is no error."""
    assert [error.message for error in OpenAPIV30SpecValidator(document).iter_errors()] == []


def test_the_document_has_every_route(world, document):
    """Given the routes of the application, when the document is read, then it has each, and no other."""
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in world.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, method in operations(document) if method not in ("head", "options")} == routes


def test_every_operation_is_described(document):
    """Given the operations, then each has a summary, an id of its own, a tag, whether it needs a key, and answers."""
    found = operations(document)
    for place, operation in found.items():
        assert operation.get("summary"), place
        assert operation["tags"], place
        assert "security" in operation, place
        assert any(status.startswith("2") for status in operation["responses"]), place
    assert len({operation["operationId"] for operation in found.values()}) == len(found)


def test_the_document_says_how_keys_are_sent(world, document):
    """Given what needs a key, then each way to send one is a scheme of the document, and 401 is among the answers."""
    schemes = document["components"]["securitySchemes"]
    for place, operation in operations(document).items():
        assert {name for way in operation["security"] for name in way} <= set(schemes), place
        if operation["security"]:
            assert "401" in operation["responses"], place


def test_what_needs_a_key_is_said(world, document):
    """Given an operation, when it is asked without a key, then 401 comes exactly where the document asks for one."""
    for example in examples(document):
        asked = example.request({})
        asked["headers"] = {name: value for name, value in asked["headers"].items() if name != "Authorization"}
        answer = world.client.open(**asked)
        needs_key = bool(example.operation["security"]) and {} not in example.operation["security"]
        assert (answer.status_code == 401) == needs_key, (str(example), answer.status_code)


def test_the_public_key_is_told_only_while_it_opens_the_service(world, document):
    """Given a service without API_KEYS and one with, then the document tells the public key in the first alone."""
    assert document["components"]["securitySchemes"]["key"]["x-default-key"] == DUMMY_API_KEY
    other = world.another_client(api_keys=("own",)).get("/openapi.json")
    assert DUMMY_API_KEY not in other.text


def test_everything_has_an_example(document):
    """Given the operations, then every request body and every parameter has an example."""
    for example in examples(document):
        for parameter in example.parameters:
            assert "example" in parameter, (str(example), parameter["name"])
        assert ("requestBody" in example.operation) == (example.media_type is not None), str(example)


def test_every_example_works(world, document):
    """Given each example, with a real job in the place of the example's, when it is sent, then it is accepted, and its
    answer is of a kind and a shape that the document tells."""
    world.services.workers.announce(
        WorkerCard(name="w", variant="cpu", device="cpu", slots=1, available_models=("demo",), refreshed=sys.maxsize)
    )
    client = world.another_client(sync_timeout_s=20.0)
    world.play_worker(world.work)
    for number, example in enumerate(examples(document)):
        job_id = world.submit(seed=7)
        asked = example.request({EXAMPLE_JOB_ID: job_id, EXAMPLE_IMAGE_NAME: EXAMPLE_IMAGE_NAME})
        if example.operation["security"]:
            asked["headers"]["X-API-Key"] = DUMMY_API_KEY
        if "Idempotency-Key" in asked["headers"]:
            asked["headers"]["Idempotency-Key"] = f"example {number}"

        answer = client.open(**asked)

        assert 200 <= answer.status_code < 300, (str(example), answer.text)
        content = example.operation["responses"][str(answer.status_code)].get("content", {})
        assert answer.mimetype in content, (str(example), answer.mimetype)
        if answer.mimetype == "application/json":
            assert objections(document, content["application/json"]["schema"], answer.json) == [], str(example)


def test_errors_have_the_shape_that_the_document_tells(world, document, assert_error):
    """Given errors of several kinds, when they come, then their status and shape are those of the document."""
    cases = {
        ("/generate", "post"): world.post(H=65),
        ("/status/{job_id}", "get"): world.client.get(f"/status/{EXAMPLE_JOB_ID}"),
        ("/recent", "get"): world.client.get("/recent", headers={"X-API-Key": "wrong"}),
        ("/docs/{name}", "get"): world.client.get("/docs/nothing.js"),
    }
    for (path, method), answer in cases.items():
        told = document["paths"][path][method]["responses"][str(answer.status_code)]
        assert_error(answer, answer.status_code)
        assert answer.json["code"] in told["description"], path
        assert objections(document, told["content"]["application/json"]["schema"], answer.json) == [], path


@pytest.mark.parametrize(("path", "schema_class"), [("/generate", GenerateSchema), ("/img2img", Img2ImgSchema)])
def test_the_document_names_and_describes_every_parameter(world, document, path, schema_class):
    """Given a request's schema, when the document is read, then every parameter has its description and its type."""
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    properties = resolve(document, content)["properties"]
    fields = schema_class(world.services.limits).fields

    assert set(properties) == {field.data_key or name for name, field in fields.items()}
    for name, field in fields.items():
        described = properties[field.data_key or name]
        assert described["description"] == field.metadata["description"]
        # of an object that may be null the type is in a schema of its own
        ways = described.get("oneOf") or described.get("anyOf") or [described]
        assert all("type" in resolve(document, each) for each in ways)


def test_the_document_tells_bounds_and_choices(document):
    """Given a bounded and a chosen parameter, when the document is read, then it has the bounds and the choices."""
    schema = document["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    properties = resolve(document, schema)["properties"]

    assert (properties["ddim_steps"]["minimum"], properties["ddim_steps"]["maximum"]) == (1, 999)
    assert "k_euler_ancestral" in properties["sampler"]["enum"]
    assert properties["scale"]["default"] == 7.5


def test_the_document_tells_how_a_form_calls_what_it_shows(document):
    """Given parameters for people and for programs, when the document is read, then the first have a title."""
    schema = document["paths"]["/img2img"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    properties = resolve(document, schema)["properties"]

    titles = {name: about["title"] for name, about in properties.items() if "title" in about}

    assert len(titles) == len(TITLES), "a title names a field that is not there"
    assert titles["scale"] == "Guidance scale"
    assert not {"api_key", "return_base64", "callback_url"} & set(titles)
    assert (properties["upscale"]["minimum"], properties["upscale"]["maximum"]) == (1, 4)


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [("/generate", "post", {"200", "202", "400", "401", "409", "413", "415", "422", "429", "503"}),
     ("/img2img", "post", {"200", "202", "400", "401", "409", "413", "415", "422", "429", "503"}),
     ("/status/{job_id}", "get", {"200", "401", "404", "410"}), ("/recent", "get", {"200", "401"})],
)  # fmt: skip
def test_the_document_tells_the_answers(document, path, method, statuses):
    """Given an endpoint, when the document is read, then its answers are listed."""
    assert statuses <= set(document["paths"][path][method]["responses"])
