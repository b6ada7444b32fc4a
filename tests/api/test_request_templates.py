"""The templates that clients copy: up to date, and accepted as they are."""

import json
import re
from pathlib import Path

import pytest

from api.request_templates import TEMPLATES_DIR, main, render_templates
from shared.request.schemas import GenerateSchema, Img2ImgSchema

NAMES = ["generate", "img2img"]
REPOSITORY = Path(__file__).parents[2]


def test_the_files_are_what_the_schemas_give(world):
    """Given the templates in the repository, when written anew, then they are equal."""
    there = {path.name: path.read_text(encoding="utf-8") for path in TEMPLATES_DIR.glob("*.json")}
    assert there == render_templates(world.services.limits), "run `make tables`"


def test_make_tables_writes_them():
    """Given the Makefile, then its target `tables` runs the command that writes the templates."""
    rule = re.search(r"^tables:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert rule
    assert "-m api.request_templates\n" in rule[1]


def test_the_command_writes_them(monkeypatch, tmp_path):
    """Given an empty folder, when the command runs, then both files are there."""
    monkeypatch.setattr("api.request_templates.TEMPLATES_DIR", tmp_path)

    main()

    assert sorted(path.name for path in tmp_path.iterdir()) == ["generate.json", "img2img.json"]


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_accepted_as_it_is(world, name):
    """Given a template, when posted to its endpoint unchanged, then 202."""
    answer = world.client.post(
        f"/{name}", json=json.loads((TEMPLATES_DIR / f"{name}.json").read_text(encoding="utf-8"))
    )

    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(("name", "schema_class"), [("generate", GenerateSchema), ("img2img", Img2ImgSchema)])
def test_a_template_has_every_parameter_in_the_schema_s_order(world, name, schema_class):
    """Given a schema, when its template is read, then every wire name stands in it, in order."""
    template = json.loads((TEMPLATES_DIR / f"{name}.json").read_text(encoding="utf-8"))
    fields = schema_class(world.services.limits).fields

    assert list(template) == [field.data_key or key for key, field in fields.items()]


def test_leaving_a_default_out_changes_nothing(world):
    """Given a template and a bare prompt, when both are posted, then the requests differ by nothing but the seed."""
    template = json.loads((TEMPLATES_DIR / "generate.json").read_text(encoding="utf-8"))
    full = world.client.post("/generate", json=template | {"seed": 1}).json["task_id"]
    bare = world.submit(prompt=template["prompt"], seed=1)

    assert world.services.jobs.get(full).request == world.services.jobs.get(bare).request
