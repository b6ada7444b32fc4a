"""Getting the images out: one of them, a part of it, or all as a zip."""

import io
import json
import tracemalloc
import zipfile

import pytest

from api.responses.archive import archive
from shared.errors import OutOfMemory
from shared.jobs.records import StoredImage
from tests.api.conftest import encoded_image


def image(world, **fields):
    """The link to the only image of a job that is done, and its bytes."""
    job_id = world.work(world.submit(**fields))
    job = world.services.jobs.get(job_id)
    name = job.images[0].name
    return f"/images/{job_id}/{name}", world.services.results.read(job.folder, name)


def zipped(answer):
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/zip"
    return zipfile.ZipFile(io.BytesIO(answer.data))


def test_a_image_is_told_apart_by_its_etag(world):
    """Given an image, when its ETag is sent back, then 304 without a body; with another ETag, all of it."""
    link, data = image(world)
    first = world.client.get(link)
    assert (first.status_code, first.data, first.mimetype) == (200, data, "image/png")
    assert first.headers["Accept-Ranges"] == "bytes"
    assert first.headers["Cache-Control"] == "private, max-age=31536000, immutable"

    again = world.client.get(link, headers={"If-None-Match": f'"other", {first.headers["ETag"]}'})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])

    other = world.client.get(link, headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.data) == (200, data)


def test_a_image_that_has_changed_has_another_etag(world):
    """Given an image, when other bytes are stored under its name, then its ETag is another."""
    link, data = image(world)
    before = world.client.get(link).headers["ETag"]
    job = world.services.jobs.get(link.split("/")[2])
    world.services.results.write(job.folder, job.images[0].name, data + b"x")

    assert world.client.get(link).headers["ETag"] != before


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=0-9", slice(0, 10)), ("bytes=10-", slice(10, None)), ("bytes=-7", slice(-7, None)),
     ("bytes=5-999999999", slice(5, None))],
)  # fmt: skip
def test_a_range_is_sent_alone(world, asked, part):
    """Given an image, when one range is asked for, then 206 with exactly that, and where it lies."""
    link, data = image(world)
    start, stop, _ = part.indices(len(data))

    answer = world.client.get(link, headers={"Range": asked})

    assert (answer.status_code, answer.data) == (206, data[part])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(data)}"
    assert int(answer.headers["Content-Length"]) == stop - start


@pytest.mark.parametrize(
    "headers",
    [{"Range": "bytes=0-1,4-5"}, {"Range": "lines=1-2"}, {"Range": "bytes=nonsense"},
     {"Range": "bytes=0-1", "If-Range": '"another version"'},
     {"Range": "bytes=0-1", "If-Range": "Wed, 21 Oct 2015 07:28:00 GMT"}],
)  # fmt: skip
def test_what_is_no_single_range_of_this_version_gets_everything(world, headers):
    """Given several ranges, an odd one, or one of another version, when asked for, then the whole image comes."""
    link, data = image(world)

    answer = world.client.get(link, headers=headers)

    assert (answer.status_code, answer.data) == (200, data)


def test_a_range_goes_on_where_the_version_is_the_same(world):
    """Given the first half of an image, when the rest is asked for with If-Range, then it comes."""
    link, data = image(world)
    first = world.client.get(link, headers={"Range": "bytes=0-99"})
    rest = world.client.get(link, headers={"Range": "bytes=100-", "If-Range": first.headers["ETag"]})

    assert (first.data + rest.data, rest.status_code) == (data, 206)


def test_a_range_beyond_the_end_is_416(world, assert_error):
    """Given an image, when a range behind its end is asked for, then 416 and how long it is."""
    link, data = image(world)
    answer = world.client.get(link, headers={"Range": f"bytes={len(data)}-"})

    assert_error(answer, 416, "request_error")
    assert answer.headers["Content-Range"] == f"bytes */{len(data)}"


def test_head_tells_the_length(world):
    """Given an image, when only its head is asked for, then it is as long as the image, whatever the range."""
    link, data = image(world)
    answer = world.client.head(link, headers={"Range": "bytes=0-1"})

    assert (answer.status_code, answer.data, answer.headers["Content-Length"]) == (200, b"", str(len(data)))


def test_a_image_that_was_deleted_is_410(world, assert_error):
    """Given an image whose file is gone, when it or the zip is asked for, then 410, and not an empty 200."""
    link, _ = image(world)
    job = world.services.jobs.get(link.split("/")[2])
    world.services.results.delete_folder(job.folder)

    assert_error(world.client.get(link), 410, "result_missing")
    assert_error(world.client.get(f"/download/{job.id}"), 410, "result_missing")


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
    jobs.finish_task(jobs.claim_task(job_id, 0), [StoredImage("0000-5.png", 5)], {"device": "cpu"}, [])
    assert_error(world.client.get(f"/download/{job_id}"), 409, "not_finished")
    jobs.fail_task(jobs.claim_task(job_id, 1), OutOfMemory("too large"))

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
    assert "picture" in error.error


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
