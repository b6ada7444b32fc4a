"""The parameters of a request as options of a command line: read off the schema, so that they are listed once.

An option has the parameter's longer name and that of the wire (`--steps, --ddim-steps`); `_` and `-` are the same with
`NORMALISED` as the command's `context_settings`. An option that is not given is None, and the service's default holds.
"""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem
from marshmallow import fields
from marshmallow.validate import OneOf

from shared.request.fields import Base64Image, Flag
from shared.request.model import Kind
from shared.request.schemas import SCHEMAS

NORMALISED = {"token_normalize_func": lambda token: token.replace("_", "-")}
# the key has a place of its own, and how an answer travels is not for whoever types a command
_NOT_TYPED = ("api_key", "synchronous", "return_base64")
_SHORT = {"model": "-m"}
_MOST_SHOWN = 6
_CONTROLNETS = "controlnet"
_CONTROL_HELP = (
    "A ControlNet to draw with and its image, as in canny=photo.png,weight=0.8,preprocess=canny; may be given several "
    "times. See GET /controlnets."
)
_PARTS_OF_CONTROL: Mapping[str, Callable[[str], Any]] = {
    "weight": float, "start": float, "end": float, "mode": str, "preprocess": str,
}  # fmt: skip
_LORAS = "loras"
_LORA_HELP = "A LoRA to draw with, as in sketch:0.8; may be given several times. See GET /loras."


class Suggested(click.ParamType[str]):
    """Text for which some values are known. Others pass: a service may be newer than this table."""

    name = "text"

    def __init__(self, values: Collection[str]) -> None:
        self.values = tuple(values)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return f"[{'|'.join(self.values)}]" if len(self.values) <= _MOST_SHOWN else None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(value) for value in self.values if value.startswith(incomplete)]


class JsonValue(click.ParamType[Any]):
    """JSON, or text where it is none."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            return value


class NamedLora(click.ParamType[Any]):
    """A LoRA as an entry of `loras`: its name, and behind a last colon its weight."""

    name = "name[:weight]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, _, weight = str(value).rpartition(":")
        try:
            return {"name": name, "weight": float(weight)} if name else {"name": value}
        except ValueError:
            return {"name": value}


class ControlledBy(click.ParamType[Any]):
    """A ControlNet as an object of `controlnet`: its name, its image, and whatever else it is told."""

    name = "model=file[,part=value]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, Mapping):
            return value
        model, equals, rest = str(value).partition("=")
        file, *parts = rest.split(",")
        told = dict(part.partition("=")[::2] for part in parts)
        if not (model and equals and file) or not told.keys() <= _PARTS_OF_CONTROL.keys():
            parts_known = ", ".join(_PARTS_OF_CONTROL)
            self.fail(f"{value!r} is not like canny=edges.png,weight=0.8; parts are: {parts_known}.", param, ctx)
        try:
            return {"model": model, "image": Path(file)} | {
                name: _PARTS_OF_CONTROL[name](text) for name, text in told.items()
            }
        except ValueError:
            self.fail(f"{value!r} has a part that is no number.", param, ctx)


def schema_options(
    kind: Kind, without: Collection[str] = (), environment: Mapping[str, str] | None = None
) -> list[click.Option]:
    """One option for each parameter of `kind`, in the order of the schema, named as the code names it.

    `without` are parameters that the command takes otherwise. `environment` names variables that stand for options.
    """
    declared = SCHEMAS[kind]._declared_fields
    variables = environment or {}
    return [
        _option(name, field, variables.get(name))
        for name, field in declared.items()
        if name not in _NOT_TYPED and name not in without
    ]


def image_names(kind: Kind) -> set[str]:
    """Both names of each parameter of `kind` that is an image."""
    declared = SCHEMAS[kind]._declared_fields.items()
    return {
        each for name, field in declared if isinstance(field, Base64Image) for each in (name, field.data_key or name)
    }


def _option(name: str, field: fields.Field[Any], variable: str | None) -> click.Option:
    names = dict.fromkeys((name.replace("_", "-"), (field.data_key or name).replace("_", "-")))
    if isinstance(field, Flag):
        flags = [f"--{each}/--no-{each}" for each in names]
        return click.Option([name, *flags], default=None, help=_help(field), envvar=variable, show_envvar=True)
    if name == _CONTROLNETS:
        return click.Option(
            [name, "--control"], type=ControlledBy(), multiple=True, callback=_or_none, help=_CONTROL_HELP,
            envvar=variable,
        )  # fmt: skip
    if name == _LORAS:
        return click.Option(
            [name, "--lora"], type=NamedLora(), multiple=True, callback=_or_none, help=_LORA_HELP, envvar=variable,
        )  # fmt: skip
    flags = [_SHORT[name]] if name in _SHORT else []
    flags += [f"--{each}" for each in names]
    return click.Option([name, *flags], type=_type(field), help=_help(field), envvar=variable, show_envvar=True)


def _or_none(_context: click.Context, _option: click.Parameter, values: tuple[Any, ...]) -> list[Any] | None:
    """Of an option that may be given several times."""
    return list(values) or None


def _type(field: fields.Field[Any]) -> click.ParamType[Any]:
    match field:
        case Base64Image():
            return click.Path(exists=True, dir_okay=False, path_type=Path)
        case fields.Integer():
            return click.INT
        case fields.Float():
            return click.FLOAT
        case fields.String():
            known = [each for each in field.validators if isinstance(each, OneOf)]
            return Suggested(tuple(map(str, known[0].choices))) if known else click.STRING
    return JsonValue()


def _help(field: fields.Field[Any]) -> str:
    text = str(field.metadata.get("description", ""))
    default = field.load_default
    told = default not in (None, "", False, True) and isinstance(default, str | int | float)
    return f"{text}  [default: {default}]" if told else text
