"""What the tools take: names, bounds, and words for whoever fills them in, most of them the service's own."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from client.errors import Refused
from shared.request.schemas import Img2ImgSchema

_ABOUT = {name: str(field.metadata["description"]) for name, field in Img2ImgSchema._declared_fields.items()}
_WIRE_NAMES = Img2ImgSchema.keys()
# by argument: what the service's code calls it, where that is not the same
_OTHER_NAMES = {"width": "output_width", "height": "output_height", "count": "n_samples", "image": "init_img"}
_NOT_OF_THE_REQUEST = {"image", "prompt", "parameters"}
# how an answer travels is no agent's affair
_NOT_ASKED = {"synchronous_request", "synchronous", "return_base64", "api_key", "idempotency_key", "callback_url"}


class Arguments(BaseModel):
    """What a tool takes. What it does not know is refused, never ignored."""

    model_config = ConfigDict(extra="forbid")


class NoArguments(Arguments):
    """Nothing."""


class GenerateArguments(Arguments):
    """Of generate_image."""

    prompt: str = Field(description=_ABOUT["prompt"].partition(" Required")[0])
    negative_prompt: str | None = Field(None, description=_ABOUT["negative_prompt"])
    model: str | None = Field(None, description="A name that list_models tells; left out: the server's default.")
    width: int | None = Field(None, ge=8, description="Pixels; give width and height, or none of them.")
    height: int | None = Field(None, ge=8, description="Pixels; give width and height, or none of them.")
    count: int = Field(1, ge=1, le=64, description="How many images; image k has the seed `seed` + k.")
    steps: int | None = Field(None, description=_ABOUT["steps"])
    guidance_scale: float | None = Field(None, description=_ABOUT["guidance_scale"])
    sampler: str | None = Field(None, description="A sampler that list_models tells.")
    seed: int | None = Field(None, description=_ABOUT["seed"])
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="Further parameters of the service by their own names, as in {'ddim_eta': 0.5}.",
    )

    @field_validator("parameters")
    @classmethod
    def _are_further_ones(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        own = {name for argument in cls.model_fields for name in _names_of(argument)}
        for name in parameters:
            if name in own:
                raise ValueError(f"'{name}' has an argument of its own")
            if name in _NOT_ASKED:
                raise ValueError(f"'{name}' is set by this server")
        return parameters

    @model_validator(mode="after")
    def _has_both_sides(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("give width and height, or none of them")
        return self

    def chosen(self) -> dict[str, Any]:
        """What was given beside the prompt, for `AsyncClient.generate` and `img2img`."""
        given = self.model_dump(exclude_none=True, exclude=_NOT_OF_THE_REQUEST)
        return {_OTHER_NAMES.get(name, name): value for name, value in given.items()} | self.parameters


class EditArguments(GenerateArguments):
    """Of edit_image."""

    image: str = Field(
        description="The image to start from: the id of a job of this server (its first image is meant), the path of "
        "an image file on this machine, or an image as a data: URL or base64."
    )
    strength: float | None = Field(None, description=_ABOUT["strength"])


class JobArguments(Arguments):
    """Of cancel."""

    job_id: str = Field(pattern=r"^[\w-]{1,64}$", description="The id that generate_image or edit_image told.")


class StatusArguments(JobArguments):
    """Of job_status."""

    wait_s: float = Field(0.0, ge=0, le=600, description="Wait so many seconds for its end before answering.")


def objection(wrong: ValidationError) -> str:
    """What is wrong with arguments, as one sentence."""
    told = [
        ": ".join((*map(str, each["loc"]), str(each.get("ctx", {}).get("error") or each["msg"])))
        for each in wrong.errors()
    ]
    return f"The arguments cannot be used: {'; '.join(told)}."


def objection_of_service(refusal: Refused) -> str:
    """Why the service refused a request, as one sentence, with the names that the tools have."""
    if not refusal.fields:
        return str(refusal)
    names = {wire: argument for argument in EditArguments.model_fields for wire in _names_of(argument)}
    told = [f"{names.get(field, field)}: {' '.join(texts)}" for field, texts in refusal.fields.items()]
    return f"The service refuses the request: {' '.join(told)}"


def _names_of(argument: str) -> set[str]:
    """What the service and its code call an argument."""
    name = _OTHER_NAMES.get(argument, argument)
    return {argument, name, _WIRE_NAMES.get(name, name)}
