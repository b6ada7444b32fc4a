"""`python -m worker.draw --prompt "..." --output mars.png`: one shot, without Redis and API, for batch schedulers.

The request is checked by the schema of the service, drawn by the same engine, and stored with the same parameters
inside. Exit status: 0, 1 failed, 2 used wrongly, 130 interrupted, 143 terminated.
"""

import base64
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import click

from shared.catalogue.library import Library
from shared.catalogue.models import Catalogue
from shared.errors import InvalidRequest, ServiceError
from shared.jobs.signals import Signal
from shared.logs import configure_logging
from shared.request.input_image import InputImage
from shared.request.intake import load_request
from shared.request.limits import Limits
from shared.request.model import ImageRequest, Kind
from shared.request.options import NORMALISED, schema_options
from shared.request.schemas import SCHEMAS
from shared.settings import Settings, SettingsError, keep_compiled_kernels, limit_spinning, read_settings

FAILED, USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143
# as workflows of grids pass them
_VARIABLES = {
    "prompt": "PROMPT", "steps": "STEPS", "height": "HEIGHT", "width": "WIDTH", "model": "MODEL", "n_iter": "ITER",
    "n_samples": "SAMPLES", "seed": "SEED",
}  # fmt: skip
# taken from files of this machine, or of no meaning without a service
_WITHOUT = ("init_img", "controlnet", "outdir", "prompt_file", "variant", "callback_url")


@click.command(
    context_settings=NORMALISED | {"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        click.Option(["-o", "--output"], type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
                     help="File of the image; of the grid where there are several; - for standard output."),
        click.Option(["--outdir"], type=click.Path(file_okay=False, path_type=Path),
                     help="Folder of every image and of the grid.  [default: outputs, without --output]"),
        click.Option(["--init-img"], type=click.Path(exists=True, dir_okay=False, path_type=Path),
                     help="The image to start from."),
        click.Option(["--from-file"], type=click.Path(exists=True, dir_okay=False, path_type=Path),
                     help="A text file, one prompt a line: each is drawn n_iter times."),
        *schema_options("img2img", without=_WITHOUT, environment=_VARIABLES),
    ],
    epilog="The settings of the worker (MODELS_DIR, DEVICE, ...) hold here too; see docs/operating.md.",
)  # fmt: skip
def draw(
    output: Path | None, outdir: Path | None, init_img: Path | None, from_file: Path | None, **values: Any
) -> None:
    """Draw images on this machine, without a service."""
    begun = time.monotonic()
    settings = read_settings()
    # what a worker tells all day is nothing for one image
    configure_logging(replace(settings, log_level="WARNING" if settings.log_level == "INFO" else settings.log_level))
    given = {name: value for name, value in values.items() if value is not None}
    catalogue = Library(settings).catalogue
    request, images = checked(settings, catalogue, given, output, init_img, from_file)
    from worker.one_shot import Outputs, draw_all  # imports torch

    keep_compiled_kernels(settings.compile_cache_dir)
    outputs = Outputs(request, output, outdir or (None if output else Path("outputs")))
    draw_all(settings, catalogue, request, images, outputs, begun)


def checked(
    settings: Settings,
    catalogue: Catalogue,
    given: dict[str, Any],
    output: Path | None,
    init_img: Path | None,
    from_file: Path | None,
) -> tuple[ImageRequest, Mapping[str, InputImage]]:
    """The request that the options make, by the schema of the service. Raises what `load_request` raises."""
    kind: Kind = "img2img" if init_img else "generate"
    keys = SCHEMAS["img2img"].keys()
    body = {keys[name]: _text(value) if isinstance(value, Path) else value for name, value in given.items()}
    suffix = output.suffix[1:].lower() if output else ""
    if suffix and "format" not in body:
        body["format"] = suffix  # the schema says which there are
    if "ckpt" in body:
        body["ckpt"] = PurePath(body["ckpt"]).name
    if init_img:
        body["init_img"] = _text(init_img)
    limits = Limits(
        catalogue=catalogue,
        prompts_dir=from_file.parent if from_file else settings.prompts_dir,
        max_input_pixels=settings.max_input_pixels,
        max_prompt_chars=settings.max_prompt_chars,
        max_images=settings.max_images_per_job,
        max_cost=settings.max_job_cost,
        max_pixels=settings.max_pixels,
    )
    if from_file:
        body["from-file"] = from_file.name
    body.setdefault("skip_grid", False)
    return load_request(SCHEMAS[kind](limits), body)


def _text(image: Path) -> str:
    return base64.b64encode(image.read_bytes()).decode()


def main() -> None:
    """Run the command; whatever goes wrong is one line on standard error."""
    limit_spinning()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        draw.main(prog_name="python -m worker.draw", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        _end("interrupted; what was finished is kept.", INTERRUPTED)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except ServiceError as error:
        said = "".join(f" {name}: {' '.join(texts)}" for name, texts in error.fields.items())
        _end(f"{error}{said}", USAGE if isinstance(error, InvalidRequest) else FAILED)
    except (SettingsError, ValueError) as wrong:
        _end(str(wrong), USAGE)
    except Signal as ended:
        _end(f"nothing more can be drawn: {ended}", FAILED)
    except OSError as error:
        _end(f"{error.filename or 'A file'} cannot be read or written: {error.strerror}.", FAILED)


def _end(sentence: str, status: int) -> None:
    click.echo(f"worker.draw: {' '.join(sentence.split())}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
