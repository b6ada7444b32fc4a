"""The JSON request templates that clients copy: every parameter with its default, written from the schemas.

`make tables` writes them into `api/templates/`; a test proves that they are up to date.
"""

import json
from pathlib import Path
from typing import Any

from marshmallow import missing

from api.document import EXAMPLE_IMAGE
from api.services import build_services
from shared.request.limits import Limits
from shared.request.schemas import SCHEMAS, GenerateSchema
from shared.settings import DUMMY_API_KEY, Settings

TEMPLATES_DIR = Path(__file__).with_name("templates")
# what has no default, or one that would not show how it is used
_EXAMPLES = {"prompt": "a red circle on a white background", "init_img": EXAMPLE_IMAGE, "api_key": DUMMY_API_KEY}


def template(schema: GenerateSchema) -> dict[str, Any]:
    """Every field of `schema` under its wire name, in the schema's order, with its example or its default."""
    body = {}
    for name, key in schema.keys().items():
        body[key] = _EXAMPLES.get(key, schema.fields[name].load_default)
        if body[key] is missing:
            raise ValueError(f"'{key}' has no default: give it an example in {__name__}")
    return body


def render_templates(limits: Limits) -> dict[str, str]:
    """File name -> text of every template."""
    return {f"{kind}.json": json.dumps(template(schema(limits)), indent=2) + "\n" for kind, schema in SCHEMAS.items()}


def main() -> None:
    """Write the templates into their folder."""
    for name, text in render_templates(build_services(Settings()).limits).items():
        (TEMPLATES_DIR / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
