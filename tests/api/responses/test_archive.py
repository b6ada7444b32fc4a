"""All of a job as a zip."""

import io
import json
import tracemalloc
import zipfile

from api.responses.archive import archive
from shared.errors import OutOfMemory
from shared.jobs.records import StoredImage
from tests.api.conftest import encoded_image


def zipped(answer):
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/zip"
    return zipfile.ZipFile(io.BytesIO(answer.data))


def test_a_download_has_everything(world):
    """Given 2 tasks of 2 and a grid, when downloaded, then the zip has them by seed, with prompts and parameters."""
    (world.folder / "prompts/two.txt").write_text("a cat\na dog\n")
    fields = {"from-file": "two.txt", "n_samples": 2, "seed": 7, "skip_grid": False, "H": 64, "W": 64, "prompt": ...}
    job_id = world.work(world.submit(**fields))
    job = world.services.jobs.get(job_id)

    answer = world.client.get(f"/download/{job_id}")

    assert answer.headers["Content-Disposition"] == f'attachment; filename="{job_id}.zip"'
    with zipped(answer) as found:
        assert found.testzip() is None
        images = ["0000-7.png", "0001-8.png", "0002-9.png", "0003-10.png", "grid.png"]
        assert found.namelist() == ["input.txt", "parameters.json", *images]
        for name in images:
            assert found.getinfo(name).compress_type == zipfile.ZIP_STORED
            assert found.read(name) == world.services.results.read(job.folder, name)
        assert found.read("input.txt").decode() == "a cat\na dog\n"
        parameters = json.loads(found.read("parameters.json"))
    assert (parameters["seed"], parameters["W"], parameters["device"]) == (7, 64, "cpu")
    assert parameters["warnings"] == ["device: this worker has a CPU only"]
    assert [image["seed"] for image in parameters["pictures"]] == [7, 8, 9, 10]
    assert "api_key" not in parameters


def test_a_prompt_of_several_lines_is_one_line_of_input(world):
    """Given a prompt with a line break, when downloaded, then input.txt still has one prompt a line."""
    job_id = world.work(world.submit(prompt="a cat\nin a hat"))

    with zipped(world.client.get(f"/download/{job_id}")) as found:
        assert found.read("input.txt").decode() == "a cat in a hat\n"


def test_a_job_that_failed_keeps_what_was_finished(world, assert_error):
    """Given a job whose second task fails, when asked for, then FAILURE with a link to the first, and a zip of it."""
    job_id = world.submit(n_iter=2, seed=5, skip_grid=False)
    assert_error(world.client.get(f"/download/{job_id}"), 409, "not_finished")
    jobs = world.services.jobs
    world.services.results.write(jobs.get(job_id).folder, "0000-5.png", encoded_image("png"))
    jobs.claims.finish(jobs.claims.claim(job_id, 0), [StoredImage("0000-5.png", 5)], {"device": "cpu"}, [])
    assert_error(world.client.get(f"/download/{job_id}"), 409, "not_finished")
    jobs.claims.fail(jobs.claims.claim(job_id, 1), OutOfMemory("too large"))

    status = world.client.get(f"/status/{job_id}").json
    assert (status["State"], status["Seeds"], status["Grid_image"]) == ("FAILURE", [5], None)
    assert status["Error"]["code"] == "out_of_memory"
    assert world.client.get(status["Images"][0]).data == encoded_image("png")
    with zipped(world.client.get(status["Download"])) as found:
        assert found.namelist() == ["input.txt", "parameters.json", "0000-5.png"]


def test_a_download_of_what_is_not_there(world, assert_error):
    """Given an id that never was, an expired one, and a job without an image, when downloaded, then 404, 410, 404."""
    assert_error(world.client.get("/download/nope"), 404, "not_found")
    expired = world.work(world.submit())
    world.redis.delete(f"pd:job:{expired}")
    assert_error(world.client.get(f"/download/{expired}"), 410, "gone")
    cancelled = world.submit()
    world.client.post(f"/cancel/{cancelled}")
    error = assert_error(world.client.get(f"/download/{cancelled}"), 404, "not_found")
    assert "image" in error.error


def test_a_zip_is_never_whole_in_memory(world):
    """Given images of 24 MB together, when the zip is sent, then it takes the memory of one or two of them."""
    job_id = world.submit(n_iter=8)
    world.work(job_id)
    job = world.services.jobs.get(job_id)
    for image in job.images:
        world.services.results.write(job.folder, image.name, bytes(3_000_000))

    tracemalloc.start()
    sent = sum(len(piece) for piece in archive(job, world.services.results))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sent > 24_000_000
    assert peak < 15_000_000
