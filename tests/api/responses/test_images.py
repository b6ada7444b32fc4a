"""Getting an image out, whole or a part of it."""

import pytest


def image(world, **fields):
    """The link to the only image of a job that is done, and its bytes."""
    job_id = world.work(world.submit(**fields))
    job = world.services.jobs.get(job_id)
    name = job.images[0].name
    return f"/images/{job_id}/{name}", world.services.results.read(job.folder, name)


def test_an_image_is_told_apart_by_its_etag(world):
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


def test_an_image_that_has_changed_has_another_etag(world):
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


def test_an_image_that_was_deleted_is_410(world, assert_error):
    """Given an image whose file is gone, when it or the zip is asked for, then 410, and not an empty 200."""
    link, _ = image(world)
    job = world.services.jobs.get(link.split("/")[2])
    world.services.results.delete_folder(job.folder)

    assert_error(world.client.get(link), 410, "result_missing")
    assert_error(world.client.get(f"/download/{job.id}"), 410, "result_missing")
