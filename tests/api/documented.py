"""The examples of the API document as requests, and its answers as schemas: what tests of the document share."""

import base64
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openapi_schema_validator import OAS30Validator

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
_DATA_URL = re.compile(r"data:([\w/+.-]+);base64,(.*)", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """One example of one operation; `name` tells the examples of a body apart."""

    path: str
    method: str
    name: str
    operation: Mapping[str, Any]
    parameters: tuple[Mapping[str, Any], ...]
    media_type: str | None
    body: Any

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path} {self.name}".strip()

    def request(self, replace: Mapping[str, str]) -> dict[str, Any]:
        """Arguments for the `open` of a test client; texts that `replace` names stand in for what is in the example."""
        values = {(each["in"], each["name"]): str_of(each.get("example")) for each in self.parameters}
        path = self.path
        for (place, name), value in values.items():
            if place == "path":
                path = path.replace(f"{{{name}}}", replace.get(value, value))
        arguments: dict[str, Any] = {
            "path": path,
            "method": self.method.upper(),
            "query_string": {name: value for (place, name), value in values.items() if place == "query"},
            "headers": {name: value for (place, name), value in values.items() if place == "header"},
        }
        if self.media_type == "multipart/form-data":
            return arguments | {"data": {name: form_value(value) for name, value in self.body.items()}}
        return arguments | ({"json": self.body} if self.media_type else {})


def examples(document: Mapping[str, Any]) -> Iterator[Example]:
    """Every example of every operation; an operation without any body has one, made of its parameters'."""
    for path, item in document["paths"].items():
        for method in METHODS:
            operation = item.get(method)
            if operation is None:
                continue
            parameters = (*item.get("parameters", []), *operation.get("parameters", []))
            bodies: list[tuple[str, str | None, Any]] = [*_bodies(operation)]
            for name, media_type, body in bodies or [("", None, None)]:
                yield Example(path, method, name, operation, parameters, media_type, body)


def _bodies(operation: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if "example" in content:
            yield media_type, media_type, content["example"]
        for name, example in content.get("examples", {}).items():
            yield f"{media_type} {name}", media_type, example["value"]


def str_of(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def form_value(value: Any) -> Any:
    """A field of a form as a test client takes it: a data: address becomes a file."""
    if isinstance(value, list):
        return [form_value(each) for each in value]
    found = _DATA_URL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return str_of(value)
    return io.BytesIO(base64.b64decode(found[2])), f"image.{found[1].rpartition('/')[2]}", found[1]


def objections(document: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> list[str]:
    """What is wrong with a JSON value by a schema of the document."""
    whole = {**schema, "components": document["components"]}
    return [f"{error.json_path}: {error.message}" for error in OAS30Validator(whole).iter_errors(value)]
