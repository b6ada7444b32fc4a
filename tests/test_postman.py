"""The Postman collection is what the API document says, and is of the format that programs import."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.postman_collection import COLLECTION, SCHEMA, text

_TEXT = {"type": "string"}
_NAMED = {"type": "array", "items": {"type": "object", "required": ["key"], "properties": {"key": _TEXT}}}
# what version 2.1.0 of the format demands of the parts that are used here
_FORMAT: dict[str, Any] = {
    "type": "object",
    "required": ["info", "item"],
    "properties": {
        "info": {
            "type": "object", "required": ["name", "schema"],
            "properties": {"name": _TEXT, "schema": {"const": SCHEMA}, "description": _TEXT, "version": _TEXT},
        },
        "item": {"$ref": "#/definitions/items"},
        "auth": {"$ref": "#/definitions/auth"},
        "variable": _NAMED,
        "event": {
            "type": "array",
            "items": {
                "type": "object", "required": ["listen", "script"],
                "properties": {
                    "listen": {"enum": ["test", "prerequest"]},
                    "script": {"properties": {"type": _TEXT, "exec": {"type": "array", "items": _TEXT}}},
                },
            },
        },
    },
    "additionalProperties": False,
    "definitions": {
        "items": {
            "type": "array",
            "items": {"anyOf": [{"$ref": "#/definitions/folder"}, {"$ref": "#/definitions/request"}]},
        },
        "folder": {
            "type": "object", "required": ["name", "item"],
            "properties": {"name": _TEXT, "description": _TEXT, "item": {"$ref": "#/definitions/items"}},
            "additionalProperties": False,
        },
        "auth": {
            "type": "object", "required": ["type"],
            "properties": {"type": {"enum": ["apikey", "noauth"]}, "apikey": _NAMED},
        },
        "request": {
            "type": "object", "required": ["name", "request"],
            "properties": {
                "name": _TEXT,
                "response": {"type": "array", "maxItems": 0},
                "request": {
                    "type": "object", "required": ["method", "url"],
                    "properties": {
                        "method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]},
                        "header": _NAMED,
                        "url": {
                            "type": "object", "required": ["raw", "host", "path"],
                            "properties": {
                                "raw": _TEXT, "host": {"type": "array", "items": _TEXT},
                                "path": {"type": "array", "items": _TEXT}, "query": _NAMED,
                            },
                        },
                        "description": _TEXT,
                        "auth": {"$ref": "#/definitions/auth"},
                        "body": {
                            "type": "object", "required": ["mode"],
                            "properties": {"mode": {"enum": ["raw", "formdata"]}, "raw": _TEXT, "formdata": _NAMED},
                        },
                    },
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def collection() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(COLLECTION.read_text(encoding="utf-8"))
    return found


def requests_of(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in items:
        if "item" in item:
            yield from requests_of(item["item"])
        else:
            yield item["request"]


def test_the_collection_is_current() -> None:
    """Given the API document, then the collection is what `make tables` makes of it."""
    assert text() == COLLECTION.read_text(encoding="utf-8"), "run `make tables`"


def test_the_collection_can_be_imported(collection: dict[str, Any]) -> None:
    """Given the collection, when it is compared with the format, then there is no objection."""
    objections = [f"{error.json_path}: {error.message}" for error in Draft7Validator(_FORMAT).iter_errors(collection)]
    assert objections == []


def test_every_request_can_be_sent(collection: dict[str, Any]) -> None:
    """Given the requests, then each goes to the server that is set, names no place-holder that nothing fills, and has
    a body that is whole."""
    known = {f"{{{{{each['key']}}}}}" for each in collection["variable"]} | {"{{$guid}}"}
    found = list(requests_of(collection["item"]))
    assert len(found) > 10
    for request in found:
        raw = request["url"]["raw"]
        assert raw.startswith("{{server}}/"), raw
        assert raw.split("?")[0] == "/".join(["{{server}}", *request["url"]["path"]]), raw
        rest = json.dumps(request)
        for each in known:
            rest = rest.replace(each, "")
        assert "{{" not in rest, raw
        assert "/{" not in raw.replace("/{{", ""), raw
        if request.get("body", {}).get("mode") == "raw":
            json.loads(request["body"]["raw"])
