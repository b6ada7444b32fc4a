"""The three things that OpenAI's dialect is asked to do with images."""

from dataclasses import dataclass

from shared.request.schemas import GenerateSchema, Img2ImgSchema


@dataclass(frozen=True)
class Operation:
    """One endpoint: its path, the schema behind it, whether a prompt is required, and the name of its events."""

    path: str
    schema: type[GenerateSchema]
    needs_prompt: bool
    event: str

    @property
    def takes_image(self) -> bool:
        return issubclass(self.schema, Img2ImgSchema)


GENERATION = Operation("/v1/images/generations", GenerateSchema, needs_prompt=True, event="image_generation")
EDIT = Operation("/v1/images/edits", Img2ImgSchema, needs_prompt=True, event="image_edit")
VARIATION = Operation("/v1/images/variations", Img2ImgSchema, needs_prompt=False, event="image_edit")
