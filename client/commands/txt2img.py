"""`pdiff txt2img`: the flags and the folders of the scripts `txt2img.py` and `img2img.py` of CompVis."""

import io
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import click

from client.drawing import follow
from client.errors import Interrupted, LocalError
from client.journal import Journal
from client.keys import own_folder
from client.server import server_options, with_client
from shared.request.options import NORMALISED, schema_options
from shared.request.sample_folder import SampleFolder
from shared.request.seeds import MAX_SEED
from shared.text_files import NotUtf8, lines_of, read_text_file

_OWN = ("prompt", "outdir", "prompt_file", "init_img")
# what those scripts do when nothing is said; the size is the model's own here
_DEFAULTS = {"steps": 50, "n_iter": 2, "n_samples": 3, "seed": 42}


@click.command(
    context_settings=NORMALISED,
    params=[
        click.Option(["--prompt"], default="a painting of a virus monster playing guitar", show_default=True,
                     help="What to draw."),
        click.Option(["--from-file"], type=click.Path(exists=True, dir_okay=False, path_type=Path),
                     help="A text file here, one prompt a line: each is drawn n_iter times."),
        click.Option(["--init-img"], type=click.Path(path_type=Path), help="The image to start from."),
        click.Option(["--outdir"], type=click.Path(file_okay=False, path_type=Path),
                     help="Folder of the samples and the grid.  [default: outputs/txt2img-samples]"),
        *server_options(),
        *schema_options("img2img", without=_OWN),
    ],
    epilog=f"Without flags, as in those scripts: {', '.join(f'{name} {value}' for name, value in _DEFAULTS.items())}.",
)  # fmt: skip
@with_client
def txt2img(
    client: Any, prompt: str, from_file: Path | None, init_img: Path | None, outdir: Path | None, **values: Any
) -> None:
    """Draw samples and a grid into a folder, with the flags of CompVis' txt2img.py and img2img.py."""
    parameters = _DEFAULTS | {name: value for name, value in values.items() if value is not None}
    skip_grid, skip_save = bool(parameters.pop("skip_grid", False)), bool(parameters.pop("skip_save", False))
    prompts = [prompt]
    if from_file:
        prompts = _prompts(from_file)
        parameters |= {"n_rows": parameters.get("n_rows") or parameters["n_samples"], "n_samples": 1}
    if "model" in parameters:
        parameters["model"] = PurePath(parameters["model"]).name
    folder = SampleFolder(outdir or Path("outputs") / ("img2img-samples" if init_img else "txt2img-samples"))
    jobs: list[Any] = []
    try:
        for number, text in enumerate(prompts):
            # each prompt has seeds of its own, as if all were drawn one after the other
            seed = (parameters["seed"] + number * parameters["n_iter"] * parameters["n_samples"]) % (MAX_SEED + 1)
            request = parameters | {"prompt": text, "seed": seed if parameters["seed"] >= 0 else -1}
            jobs.append(client.img2img(init_img, **request) if init_img else client.generate(**request))
            Journal(own_folder()).note(jobs[-1].id, client.url, text)
        for number, job in enumerate(jobs, 1):
            follow(job, label=f"{number}/{len(jobs)}" if len(jobs) > 1 else "")
            if not skip_save:
                for name, data in job.files:
                    click.echo(folder.keep_sample(data, PurePath(name).suffix))
        if not skip_grid:
            columns = parameters.get("n_rows") or parameters["n_samples"]
            click.echo(folder.keep_grid(_sheet([image for job in jobs for image in job.images], columns), ".png"))
    except KeyboardInterrupt:
        ids = " ".join(job.id for job in jobs)
        goes_on = f"what was submitted goes on: `pdiff jobs cancel {ids}` ends it." if jobs else "no job was submitted."
        raise Interrupted(f"interrupted; {goes_on}") from None


def _prompts(file: Path) -> list[str]:
    """The lines of a file that have text. Raises LocalError where there are none."""
    try:
        prompts = [line for line in lines_of(read_text_file(file)) if line.strip()]
    except NotUtf8 as wrong:
        raise LocalError(f"{file} {wrong}.") from None
    if not prompts:
        raise LocalError(f"{file} has no prompt in it.")
    return prompts


def _sheet(images: Sequence[Any], columns: int) -> bytes:
    from shared.request.grid import grid
    from shared.request.sizes import plan_cells

    out = io.BytesIO()
    grid(images, plan_cells(len(images), columns, images[0].size, "png")).save(out, "PNG")
    return out.getvalue()
