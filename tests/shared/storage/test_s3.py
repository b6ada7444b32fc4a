"""The result store in a bucket, against a real server of S3."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import requests

from shared.errors import ResultMissing, StorageFull, StoreUnavailable
from shared.storage.results import ResultStore


@pytest.fixture
def environment(s3_environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def store(environment: None, request: pytest.FixtureRequest) -> ResultStore:
    """A store in a bucket of the test's own, which is not there yet."""
    bucket = request.node.name.replace("_", "-").partition("[")[0][-60:].strip("-")
    return ResultStore(f"s3://{bucket}/some/prefix", link_ttl_s=60)


def test_what_was_written_is_read(store: ResultStore) -> None:
    """Given a bucket that is not there yet, when written and read, then the bytes are the same; again replaces."""
    store.write("kept/job", "0000.png", b"old and long")
    store.write("kept/job", "0000.png", b"\x89PNG and more")

    assert store.read("kept/job", "0000.png") == b"\x89PNG and more"
    assert store.read("kept/job", "0000.png", 1, 4) == b"PNG"
    assert store.read("kept/job", "0000.png", 9) == b"more"


@pytest.mark.parametrize(("folder", "name"), [("job", "b.png"), ("other", "a.png")])
def test_what_is_not_there_is_missing(store: ResultStore, folder: str, name: str) -> None:
    """Given no such object, when it is read or looked at, then ResultMissing names it."""
    store.write("job", "a.png", b"x")

    with pytest.raises(ResultMissing, match=name):
        store.read(folder, name)
    with pytest.raises(ResultMissing, match=name):
        store.look_at(folder, name)


def test_a_bucket_that_is_not_there_is_an_empty_one(environment: None) -> None:
    """Given no bucket at all, when asked for anything, then it is missing, of no size, and deleting is fine."""
    store = ResultStore("s3://no-such-bucket")

    with pytest.raises(ResultMissing):
        store.read("job", "a.png")
    assert store.size("job") == 0
    store.delete_folder("job")


def test_looking_tells_size_and_version(store: ResultStore) -> None:
    """Given an object, when it is replaced, then size and tag are new ones; the same bytes have the same tag."""
    store.write("job", "a.png", b"one")
    before = store.look_at("job", "a.png")
    store.write("job", "a.png", b"two")

    assert before.size == 3
    assert store.look_at("job", "a.png").tag != before.tag
    store.write("job", "a.png", b"one")
    assert store.look_at("job", "a.png") == before


def test_deleting_takes_the_folder_and_nothing_else(store: ResultStore) -> None:
    """Given two jobs whose names begin alike, when one is deleted, twice, then the other stays; sizes follow."""
    store.write(".expiring/one", "a.png", b"1")
    store.write(".expiring/one", "b.png", b"22")
    store.write(".expiring/one-more", "a.png", b"333")
    assert (store.size(".expiring/one"), store.size(".expiring")) == (3, 6)

    store.delete_folder(".expiring/one")
    store.delete_folder(".expiring/one")

    assert (store.size(".expiring/one"), store.size(".expiring")) == (0, 3)
    assert store.read(".expiring/one-more", "a.png") == b"333"


def test_more_than_one_deletion_takes(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given more objects than one call deletes, when their folder is deleted, then none is left."""
    monkeypatch.setattr("shared.storage.s3._DELETED_AT_ONCE", 2)
    for number in range(5):
        store.write("job", f"{number}.png", b"x")

    store.delete_folder("job")

    assert store.size("job") == 0


def test_a_link_leads_straight_to_the_object(store: ResultStore) -> None:
    """Given an image, when its link is opened without any key, then it comes."""
    store.write("job", "a.png", b"image")
    link = store.link("job", "a.png")

    assert link is not None
    assert "X-Amz-Expires=60&" in link
    assert requests.get(link, timeout=10).content == b"image"


def test_links_are_made_only_where_they_are_wanted(environment: None, tmp_path: Path) -> None:
    """Given a store without a time for links, or a folder, when a link is asked for, then there is none."""
    assert ResultStore("s3://bucket").link("job", "a.png") is None
    assert ResultStore(str(tmp_path), link_ttl_s=60).link("job", "a.png") is None


def test_a_store_without_room_says_so(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a server whose disk is full, when something is written, then the error says what to do."""
    errors = pytest.importorskip("botocore.exceptions")

    def full(**_: object) -> None:
        raise errors.ClientError({"Error": {"Code": "XMinioStorageFull", "Message": "full"}}, "PutObject")

    monkeypatch.setattr(store._fs.client, "put_object", full)
    with pytest.raises(StorageFull, match="OUTPUT_DIR"):
        store.write("job", "a.png", b"x")


def _answer(code: str, status: int) -> Exception:
    errors = pytest.importorskip("botocore.exceptions")
    told = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    refused: Exception = errors.ClientError(told, "Operation")
    return refused


def _of_botocore(name: str, **details: object) -> Exception:
    made: Exception = getattr(pytest.importorskip("botocore.exceptions"), name)(**details)
    return made


CALLS = {
    "write": lambda store: store.write("job", "a.png", b"x"),
    "read": lambda store: store.read("job", "a.png"),
    "look": lambda store: store.look_at("job", "a.png"),
    "size": lambda store: store.size("job"),
    "delete": lambda store: store.delete_folder("job"),
}


PASSING = (
    lambda: _answer("SlowDown", 503),
    lambda: _answer("InternalError", 500),
    lambda: _answer("ServiceUnavailable", 503),
    lambda: _answer("RequestTimeout", 400),
    lambda: _answer("502", 502),
    lambda: _of_botocore("EndpointConnectionError", endpoint_url="http://s3"),
    lambda: _of_botocore("ConnectTimeoutError", endpoint_url="http://s3"),
    lambda: _of_botocore("ReadTimeoutError", endpoint_url="http://s3"),
    lambda: _of_botocore("ConnectionClosedError", endpoint_url="http://s3"),
    lambda: _of_botocore("ProxyConnectionError", proxy_url="http://proxy"),
    lambda: _of_botocore("IncompleteReadError", actual_bytes=1, expected_bytes=2),
    lambda: _of_botocore("ResponseStreamingError", error="reset"),
)
LASTING = (
    (lambda: _answer("AccessDenied", 403), PermissionError),
    (lambda: _of_botocore("NoCredentialsError"), PermissionError),
    (lambda: _of_botocore("SSLError", endpoint_url="http://s3", error="self-signed"), OSError),
    (lambda: _answer("NotImplemented", 501), OSError),
    (lambda: _of_botocore("ParamValidationError", report="wrong"), OSError),
)


def _raised(store: ResultStore, monkeypatch: pytest.MonkeyPatch, call: str, error: Exception) -> Exception | None:
    """What the store makes of an error that each of botocore's calls ends with."""

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(store._fs.client, "_make_api_call", fail)
        try:
            CALLS[call](store)
        except Exception as raised:
            return raised
    return None


@pytest.mark.parametrize("call", CALLS)
def test_what_passes_is_told_as_such(store: ResultStore, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Given a server that is overloaded, slow or away, when anything is asked of it, then that is StoreUnavailable."""
    store.write("job", "a.png", b"x")
    made = {repr(error()): type(_raised(store, monkeypatch, call, error())) for error in PASSING}
    assert made == dict.fromkeys(made, StoreUnavailable)


@pytest.mark.parametrize("call", CALLS)
def test_what_does_not_pass_is_an_error_of_a_file_system(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Given a server that refuses for good, when anything is asked of it, then nobody waits for it."""
    store.write("job", "a.png", b"x")
    for error, kind in LASTING:
        assert type(_raised(store, monkeypatch, call, error())) is kind, error()


def test_a_server_that_is_not_there_at_all(s3_environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an address where nobody listens, when something is written, then that is StoreUnavailable."""
    for name, value in (*s3_environment.items(), ("AWS_ENDPOINT_URL", "http://127.0.0.1:1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnavailable):
        ResultStore("s3://bucket").write("job", "a.png", b"x")
