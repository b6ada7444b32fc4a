"""marshmallow fields for JSON as clients really send it: strict about types, clear about what is wanted."""

import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from marshmallow import ValidationError, fields
from marshmallow.validate import Length, Range

from shared.callback_hosts import CallbackUrl
from shared.request.input_image import DecodeImage, InputImage, decode_image, decode_input_image, decode_mask
from shared.request.prompt_file import PromptFile, read_prompt_file
from shared.request.seeds import MAX_SEED

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_\- ][A-Za-z0-9._\- ]*")


class WholeNumber(fields.Integer):
    """An integer. `20.0` is one, because JavaScript writes it so; `"20"`, `true` and NaN are not."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        raise ValidationError("Must be a whole number.")


class Number(fields.Float):
    """A finite number; NaN, the infinities, booleans and strings are refused."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Must be a number.")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValidationError("Must be a finite number.")
        return number


class Flag(fields.Boolean):
    """`true` or `false`, and nothing that merely resembles them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be true or false.")
        return value


class Text(fields.String):
    """Text that can be stored, printed and put into an image: valid Unicode without control characters."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Must be text.")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise ValidationError("Must be valid Unicode text.") from None
        if _CONTROL.search(value):
            raise ValidationError("Must not contain control characters.")
        return value


class WholePair(fields.List[int]):
    """Two whole numbers from `least` to `most`, as in `[1024, 768]`; loads as a tuple."""

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        super().__init__(WholeNumber(validate=Range(least, most)), validate=Length(equal=2), **kwargs)
        self._wanted = f"Must be two whole numbers from {least} to {most}, as in [{most // 16}, {most // 16}]."

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> tuple[int, int]:  # type: ignore[override]  # hashable
        if not isinstance(value, list) or len(value) != 2:
            raise ValidationError(self._wanted)
        try:
            numbers: list[Any] = [self.inner.deserialize(each) for each in value]
        except ValidationError:
            raise ValidationError(self._wanted) from None
        return numbers[0], numbers[1]


class Seed(WholeNumber):
    """A seed from 0 to 2^32 - 1; null, false and -1 ask for a random one and load as None."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int | None:  # type: ignore[override]  # None stands for "draw one"
        if value is False:
            return None
        number = super()._deserialize(value, *args, **kwargs)
        if number == -1:
            return None
        if not 0 <= number <= MAX_SEED:
            raise ValidationError(f"Must be from 0 to {MAX_SEED}, or null, false or -1 for a random seed.")
        return number


class EnlargeFactor(WholeNumber):
    """How many times to enlarge: false is 1, true is 2, or a whole number from 1 to 4."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.metadata = {**self.metadata, "minimum": 1, "maximum": 4}  # as the API document says it of a number

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if isinstance(value, bool):
            return 2 if value else 1
        number = super()._deserialize(value, *args, **kwargs)
        if not 1 <= number <= 4:
            raise ValidationError("Must be false, true (twice the size) or a factor from 1 to 4.")
        return number


class CallbackAddress(Text):
    """A URL to be called; whether the operator allows it is not looked at here."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, *args, **kwargs)
        try:
            CallbackUrl.parse(text)
        except ValueError as wrong:
            raise ValidationError(str(wrong)) from None
        return text


class Folder(Text):
    """A folder under the output root, as a relative path; one leading `outputs/` names the root itself."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, *args, **kwargs)
        if text.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:", text):
            raise ValidationError("Must be a relative folder under the output root, not an absolute path.")
        if len(text) > 200:
            raise ValidationError("Must be at most 200 characters long.")
        parts = [part for part in text.split("/") if part]
        if parts[:1] == ["outputs"]:
            parts = parts[1:]
        for part in parts:
            if part.strip(" .") != part or not _FOLDER_NAME.fullmatch(part):
                raise ValidationError(
                    "Must be folder names of letters, digits, '.', '_', '-' and spaces, separated by '/', without '..'."
                )
        return "/".join(parts)


class PromptFileName(Text):
    """The bare name of a file in the prompts folder, which is read; false, null or "" for none (loads as None)."""

    def __init__(self, *, folder: Path, max_chars: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.max_chars = max_chars

    def _deserialize(  # type: ignore[override]  # prompts come out of the name
        self, value: Any, *args: Any, **kwargs: Any
    ) -> PromptFile | None:
        if value is False or value == "":
            return None
        if value is True:
            raise ValidationError("Must be false or the name of a text file.")
        text = super()._deserialize(value, *args, **kwargs)
        if text != PurePosixPath(text).name or "\\" in text or text.startswith(".") or len(text) > 100:
            raise ValidationError("Must be the bare name of a file in the prompts folder, without any folder.")
        try:
            file = read_prompt_file(self.folder, text, self.max_chars)
        except ValueError as wrong:
            raise ValidationError(str(wrong)) from None
        for prompt in file.prompts:
            super()._deserialize(prompt, *args, **kwargs)
        return file


class ShortList(fields.List[Any]):
    """A list whose length is judged before its entries are read, for an entry may hold an image."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if isinstance(value, list):
            self._validate(value)
        return super()._deserialize(value, attr, data, **kwargs)


class Base64Image(fields.String):
    """An image as base64 text, in whatever dress, or as the bytes of a file; loads as an `InputImage`, which `decode`
    makes of its bytes."""

    def __init__(self, *, max_pixels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_pixels = max_pixels
        self.decode: DecodeImage = decode_image

    def _deserialize(  # type: ignore[override]  # an image comes out of the text
        self, value: Any, *args: Any, **kwargs: Any
    ) -> InputImage:
        if not isinstance(value, str | bytes):
            raise ValidationError("Must be an image as base64 text.")
        try:
            if isinstance(value, bytes):
                return self.decode(value, self.max_pixels)
            return decode_input_image(value, self.max_pixels, self.decode)
        except ValueError as wrong:
            raise ValidationError(str(wrong)) from None


class Base64Mask(Base64Image):
    """The same for an image that says where something is; `decode` is as `decode_mask`."""

    def __init__(self, *, max_pixels: int, **kwargs: Any) -> None:
        super().__init__(max_pixels=max_pixels, **kwargs)
        self.decode = decode_mask
