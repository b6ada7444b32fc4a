"""The tables of `docs/`, made from the code they describe. `make tables` writes them anew."""

import json
import re
from pathlib import Path
from typing import Any

from marshmallow import fields
from marshmallow.validate import OneOf, Range

from shared.catalogue.entries import load_catalogue
from shared.catalogue.samplers import SAMPLERS, Sampler
from shared.request.defaults import OF_THE_MODEL
from shared.request.fields import WholePair
from shared.request.limits import Limits
from shared.request.schemas import GenerateSchema, Img2ImgSchema
from shared.settings import Settings

_LONG = 10
REPOSITORY = Path(__file__).resolve().parent.parent
_SAMPLER_SCORES = REPOSITORY / "benchmarks" / "results" / "samplers.json"
PAGES = {
    REPOSITORY / "docs" / "parameters.md": ("parameters", "img2img-parameters", "samplers"),
    REPOSITORY / "docs" / "models.md": ("models",),
}
"""The pages that have generated tables, and the names of these."""


def tables() -> dict[str, str]:
    """Every generated table by the name of its markers."""
    settings = Settings()
    scores = json.loads(_SAMPLER_SCORES.read_text())["scores"]
    limits = Limits(
        catalogue=load_catalogue(settings.default_model),
        prompts_dir=settings.prompts_dir,
        max_input_pixels=settings.max_input_pixels,
        max_prompt_chars=settings.max_prompt_chars,
        max_images=settings.max_images_per_job,
        max_cost=settings.max_job_cost,
    )
    common, all_fields = GenerateSchema(limits).fields, Img2ImgSchema(limits).fields
    only_img2img = {name: field for name, field in all_fields.items() if name not in common}
    return {
        "parameters": _table(("key", "default", "values", "meaning"), [_parameter(*item) for item in common.items()]),
        "img2img-parameters": _table(
            ("key", "default", "values", "meaning"), [_parameter(*item) for item in only_img2img.items()]
        ),
        "samplers": _table(
            ("name", "aliases", "what it is", "evaluations a step", "uses `ddim_eta`", "enough steps"),
            [
                (
                    f"`{name}`",
                    _words(sampler.aliases),
                    sampler.label,
                    str(sampler.evaluations_per_step or "its own choice"),
                    "yes" if sampler.uses_eta else "",
                    _enough_steps(scores.get(name), sampler),
                )
                for name, sampler in SAMPLERS.items()
            ],
        ),
        "models": _table(
            ("name", "aliases", "native size", "largest", "what it is"),
            [
                (
                    f"`{model.name}`",
                    _words(model.aliases),
                    str(model.native_size),
                    str(model.largest_square),
                    model.label,
                )
                for model in limits.catalogue
            ],
        ),
    }


def replaced(page: Path) -> str:
    """The text of one of the `PAGES` with its generated tables put between their markers.

    Raises ValueError where a pair of markers is missing or comes twice.
    """
    text, made = page.read_text(), tables()
    for name in PAGES[page]:
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        parts = pattern.split(text)
        if len(parts) != 4:
            raise ValueError(f"{page.name}: expected one pair of markers <!-- {name} --> and <!-- /{name} -->")
        before, opening, closing, after = parts
        text = before + opening + made[name] + closing + after
    return text


def _table(head: tuple[str, ...], entries: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *entries]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _parameter(name: str, field: fields.Field[Any]) -> tuple[str, ...]:
    meaning = str(field.metadata["description"])
    key = field.data_key or name
    default = "required" if field.required or "Required" in meaning else f"`{json.dumps(field.load_default)}`"
    if key in OF_THE_MODEL:
        default += ", or the model's own"
    return f"`{key}`", default, _values(field), meaning


def _values(field: fields.Field[Any]) -> str:
    rule = field.validate
    if isinstance(field, WholePair):
        return f"two, {_values(field.inner)}"
    if isinstance(rule, OneOf):
        choices = list(rule.choices)
        return "see below" if len(choices) > _LONG else _words(json.dumps(choice) for choice in choices)
    if isinstance(rule, Range):
        low = "" if rule.min is None else f"{'from' if rule.min_inclusive else 'above'} {rule.min}"
        return f"{low}{'' if rule.max is None else f' to {rule.max}'}".strip()
    return "true, false" if isinstance(field, fields.Boolean) else ""


def _enough_steps(scores: dict[str, Any] | None, sampler: Sampler) -> str:
    if sampler.evaluations_per_step is None:
        return "its own choice"
    if sampler.for_distilled:
        return "the model's"
    if scores is None:
        return "not measured"
    return str(scores["enough"] or f"more than {list(scores['steps'])[-1]}")


def _words(words: Any) -> str:
    return ", ".join(f"`{str(word).strip(chr(34))}`" for word in words)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(replaced(page))
