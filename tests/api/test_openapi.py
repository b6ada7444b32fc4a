"""The API document against the standard and against the schemas."""

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.request.titles import TITLES

PATHS = [
    "/generate",
    "/img2img",
    "/status/{job_id}",
    "/cancel/{job_id}",
    "/recent",
    "/images/{job_id}/{name}",
    "/health",
    "/ready",
    "/models",
    "/samplers",
]


@pytest.fixture
def document(client):
    return client.get("/openapi.json").get_json()


def resolve(document, schema):
    return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def test_the_document_is_valid_openapi(document):
    """Given the document, when checked against OpenAPI 3.0, then there is no error."""
    assert [error.message for error in OpenAPIV30SpecValidator(document).iter_errors()] == []


def test_the_document_has_every_address(document):
    """Given the document, when its paths are listed, then every endpoint is there with a summary."""
    assert set(PATHS) <= set(document["paths"])
    for path in PATHS:
        for method, operation in document["paths"][path].items():
            if method != "parameters":
                assert operation.get("summary"), path


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
        assert "type" in described


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
    [("/generate", "post", {"200", "202", "400"}), ("/img2img", "post", {"200", "202", "400"}),
     ("/status/{job_id}", "get", {"200", "404", "410"}), ("/recent", "get", {"200", "401"})],
)  # fmt: skip
def test_the_document_tells_the_answers(document, path, method, statuses):
    """Given an endpoint, when the document is read, then its answers are listed."""
    assert statuses <= set(document["paths"][path][method]["responses"])
