"""Small versions of stored images: what they are, how often they are made, and what cannot be made small."""

import io

import pytest
from PIL import Image

from api.responses.thumbnails import Thumbnails
from shared.storage.results import ResultStore, StoredFile


@pytest.fixture
def link(world):
    """The link to an image of 1000x500 pixels."""
    job_id = world.work(world.submit())
    job = world.services.jobs.get(job_id)
    out = io.BytesIO()
    Image.new("RGB", (1000, 500), "red").save(out, "PNG")
    world.services.results.write(job.folder, job.images[0].name, out.getvalue())
    return f"/images/{job_id}/{job.images[0].name}"


@pytest.mark.parametrize(("width", "size"), [(192, (192, 96)), (384, (384, 192)), (768, (768, 384))])
def test_a_width_gives_a_small_version(world, link, width, size):
    """Given an image, when one of the widths is asked for, then it comes as WebP of that width, to be kept."""
    answer = world.client.get(f"{link}?width={width}")

    assert (answer.status_code, answer.mimetype) == (200, "image/webp")
    with Image.open(io.BytesIO(answer.data)) as image:
        assert (image.format, image.size) == ("WEBP", size)
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    again = world.client.get(f"{link}?width={width}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert world.client.get(link).headers["ETag"] != answer.headers["ETag"]


@pytest.mark.parametrize("width", ["193", "0", "-1", "10000000", "x"])
def test_other_widths_are_refused(world, link, width, assert_error):
    """Given a width that is none of the few, when it is asked for, then 400 names the field."""
    assert "width" in assert_error(world.client.get(f"{link}?width={width}"), 400).fields


def test_what_cannot_be_made_small_comes_as_it_is(world, link):
    """Given a stored file that is no image any more, when a width is asked for, then the file itself comes."""
    job = world.services.jobs.get(link.split("/")[2])
    world.services.results.write(job.folder, job.images[0].name, b"broken")

    answer = world.client.get(f"{link}?width=192")

    assert (answer.status_code, answer.data, answer.mimetype) == (200, b"broken", "image/png")


def test_marks_of_other_programs_are_left_alone(world, link):
    """Given an address with a query of a stranger's, when it is asked for, then the image comes."""
    assert world.client.get(f"{link}?v=3").status_code == 200


def test_the_last_ones_are_remembered(world, tmp_path):
    """Given room for two thumbnails, when three are made, then the one that was not asked for is made anew."""
    made = []
    results = ResultStore(str(tmp_path))
    job = world.services.jobs.get(world.submit())
    for name in ("a", "b", "c"):
        results.write(job.folder, name, name.encode())

    def make(data, width):
        made.append(data)
        return bytes(10)

    thumbnails = Thumbnails(make, most_bytes=20)

    for name in ("a", "b", "a", "c", "a", "b"):
        thumbnails.get(job, name, 192, StoredFile(1, "tag"), results)

    assert made == [b"a", b"b", b"c", b"b"]
