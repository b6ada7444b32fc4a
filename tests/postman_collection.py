"""The API document as a collection for Postman, and whatever else reads its format. `make tables` writes it anew.

Format: Postman Collection 2.1.0. Server, key, and the job that was submitted last are variables of the collection.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from api.app import create_app
from api.document import EXAMPLE_IMAGE_NAME, EXAMPLE_JOB_ID, NO_KEY
from api.services import build_services
from shared.settings import DUMMY_API_KEY, Settings
from tests.api.documented import Example, examples, str_of

COLLECTION = Path(__file__).resolve().parents[1] / "deploy" / "postman" / "personal-diffusion.postman_collection.json"
SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_VARIABLES = {
    "server": "http://127.0.0.1:5001", "key": DUMMY_API_KEY, "job_id": EXAMPLE_JOB_ID, "image_name": EXAMPLE_IMAGE_NAME,
}  # fmt: skip
_IN_PLACE_OF = {EXAMPLE_JOB_ID: "{{job_id}}", EXAMPLE_IMAGE_NAME: "{{image_name}}"}
# an answer names the job, and its image, that the next requests are about
_AFTER_EACH = """\
const headers = pm.response.headers;
const isJson = (headers.get("Content-Type") || "").startsWith("application/json");
const body = isJson ? pm.response.json() : {};
const job = headers.get("X-Task-Id") || (body && body.task_id) || "";
if (/^[0-9a-f]{32}$/.test(job)) {
    pm.collectionVariables.set("job_id", job);
}
const file = /filename="([^"]+\\.(?:png|jpg|webp))"/.exec(headers.get("Content-Disposition") || "");
const link = body && Array.isArray(body.Images) && /([^/]+)$/.exec(body.Images[0] || "");
if (file || link) {
    pm.collectionVariables.set("image_name", (file || link)[1]);
}
pm.test("the request is accepted", () => pm.expect(pm.response.code).to.be.within(200, 299));"""


def document() -> dict[str, Any]:
    """The API document of a service with the settings' defaults, but keys of its own."""
    answer = create_app(build_services(Settings(api_keys=(DUMMY_API_KEY,)))).test_client().get("/openapi.json")
    found: dict[str, Any] = json.loads(answer.data)
    return found


def collection(document: Mapping[str, Any]) -> dict[str, Any]:
    """One folder a tag, one request an example."""
    folders: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    for example in examples(document):
        folders[example.operation["tags"][0]].append(_request(example))
    info = document["info"]
    return {
        "info": {
            "_postman_id": str(uuid.uuid5(uuid.NAMESPACE_URL, SCHEMA + info["title"])),
            "name": info["title"],
            "description": info["description"],
            "version": info["version"],
            "schema": SCHEMA,
        },
        "auth": {"type": "apikey", "apikey": _attributes(key="X-API-Key", value="{{key}}", **{"in": "header"})},
        "variable": [{"key": key, "value": value, "type": "string"} for key, value in _VARIABLES.items()],
        "event": [{"listen": "test", "script": {"type": "text/javascript", "exec": _AFTER_EACH.splitlines()}}],
        "item": [
            {"name": tag["name"], "description": tag.get("description", ""), "item": folders[tag["name"]]}
            for tag in document["tags"]
        ],
    }


def _request(example: Example) -> dict[str, Any]:
    operation = example.operation
    several = len(list(_named(operation))) > 1
    title = f"{operation['summary'].rstrip('.')}{': ' + _title(example) if several else ''}"
    path = re.sub(r"\{(\w+)\}", lambda match: _value(example, "path", match[1]), example.path)
    query = [
        {"key": each["name"], "value": _filled(each["example"]), "description": each.get("description", "")}
        for each in example.parameters
        if each["in"] == "query"
    ]
    raw = "{{server}}" + path + ("?" + "&".join(f"{each['key']}={each['value']}" for each in query) if query else "")
    url: dict[str, Any] = {"raw": raw, "host": ["{{server}}"], "path": path.strip("/").split("/")}
    request: dict[str, Any] = {
        "method": example.method.upper(),
        "header": list(_headers(example)),
        "url": url | ({"query": query} if query else {}),
        "description": operation.get("description", operation["summary"]),
    }
    if operation["security"] == NO_KEY:
        request["auth"] = {"type": "noauth"}
    if example.media_type:
        request["body"] = _body(example)
    return {"name": title, "request": request, "response": []}


def _headers(example: Example) -> Iterator[dict[str, str]]:
    for each in example.parameters:
        if each["in"] == "header":
            value = "{{$guid}}" if each["name"] == "Idempotency-Key" else _filled(each["example"])
            yield {"key": each["name"], "value": value, "description": each.get("description", "")}
    if example.media_type and example.media_type != "multipart/form-data":
        yield {"key": "Content-Type", "value": example.media_type}


def _body(example: Example) -> dict[str, Any]:
    if example.media_type != "multipart/form-data":
        raw = _filled(json.dumps(example.body, indent=2))
        return {"mode": "raw", "raw": raw, "options": {"raw": {"language": "json"}}}
    # an image goes as a data: address, because a collection holds no files
    entries = [
        {"key": name, "value": _filled(each), "type": "text"}
        for name, value in example.body.items()
        for each in (value if isinstance(value, list) else [value])
    ]
    return {"mode": "formdata", "formdata": entries}


def _named(operation: Mapping[str, Any]) -> Iterator[str]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield from content.get("examples", {"": content.get("example")})


def _title(example: Example) -> str:
    media_type, _, name = example.name.partition(" ")
    told = example.operation["requestBody"]["content"][media_type].get("examples", {}).get(name, {})
    return str(told.get("summary") or name or media_type)


def _value(example: Example, place: str, name: str) -> str:
    found = next(each for each in example.parameters if (each["in"], each["name"]) == (place, name))
    return _filled(found["example"])


def _filled(value: Any) -> str:
    text = str_of(value)
    for example, variable in _IN_PLACE_OF.items():
        text = text.replace(example, variable)
    return text


def _attributes(**values: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value, "type": "string"} for key, value in values.items()]


def text() -> str:
    """The file's text."""
    return json.dumps(collection(document()), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    COLLECTION.parent.mkdir(parents=True, exist_ok=True)
    COLLECTION.write_text(text(), encoding="utf-8")
