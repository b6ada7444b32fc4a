"""REDIS_URL: every form that is taken means the same to redis-py, to kombu and to limits; others are refused."""

import ssl
from typing import Any

import pytest
import redis
from kombu import Connection
from limits.storage import storage_from_string
from redis.connection import SSLConnection, UnixDomainSocketConnection

from shared.redis.address import RedisAddress
from shared.settings import SettingsError, read_settings

NOTHING = {"username": None, "password": None}


def seen_by_redis(url: str) -> dict[str, object]:
    client = redis.Redis.from_url(RedisAddress.parse(url).for_redis)
    return {"kind": client.connection_pool.connection_class, **client.connection_pool.connection_kwargs}


def seen_by_limits(url: str) -> dict[str, object]:
    storage: Any = storage_from_string(RedisAddress.parse(url).for_limits)
    client = storage.storage
    return {"kind": client.connection_pool.connection_class, **client.connection_pool.connection_kwargs}


def seen_by_kombu(url: str) -> dict[str, object]:
    transport = Connection(RedisAddress.parse(url).for_celery).transport
    # the parameters of its connections, without opening one
    channel = transport.Channel.__new__(transport.Channel)
    channel.connection = transport
    found = channel._connparams()
    kind = next(base for base in found["connection_class"].__mro__ if base.__module__ == "redis.connection")
    return {**found, "kind": kind}


LIBRARIES = [seen_by_redis, seen_by_limits, seen_by_kombu]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "127.0.0.1", "port": 6379, "db": 0, **NOTHING}),
        ("redis://h", {"host": "h", "port": 6379, "db": 0, **NOTHING}),
        ("redis://h:7/3", {"host": "h", "port": 7, "db": 3, **NOTHING}),
        ("redis://h:7?db=3", {"host": "h", "port": 7, "db": 3, **NOTHING}),
        ("redis://[::1]:7/3", {"host": "::1", "port": 7, "db": 3, **NOTHING}),
        ("redis://:p%2F%3B%23%40w@h", {"host": "h", "username": None, "password": "p/;#@w"}),
        ("redis://me:%25@h/2", {"host": "h", "username": "me", "password": "%", "db": 2}),
        ("rediss://h/1", {"kind": SSLConnection, "host": "h", "db": 1}),
        ("unix:///run/r.sock", {"kind": UnixDomainSocketConnection, "path": "/run/r.sock", "db": 0, **NOTHING}),
        ("unix:///a%20b/%3B/a@b.sock?db=4", {"path": "/a b/;/a@b.sock", "db": 4, **NOTHING}),
        ("unix://me:p%40w@/run/r.sock?db=4", {"path": "/run/r.sock", "db": 4, "username": "me", "password": "p@w"}),
        ("redis+socket:///run/r.sock", {"kind": UnixDomainSocketConnection, "path": "/run/r.sock", "db": 0, **NOTHING}),
        ("redis+socket://:pw@/run/r.sock?virtual_host=4", {"path": "/run/r.sock", "db": 4, "password": "pw"}),
    ],
)  # fmt: skip
def test_an_address_means_the_same_to_every_library(library, url, expected):
    """Given an address, when a library gets its form of it, then it reaches that server, database and login."""
    found = library(url)
    # what a library leaves out is what it takes anyway
    known = {"username": None, "password": None, "db": 0, "host": "127.0.0.1", "port": 6379} | found
    assert {name: known[name] or None for name in expected} == {name: value or None for name, value in expected.items()}


@pytest.mark.parametrize(
    ("url", "certificates"),
    [
        ("rediss://h", ssl.CERT_REQUIRED),
        ("rediss://h?ssl_check_hostname=false", ssl.CERT_REQUIRED),
        ("rediss://h?ssl_cert_reqs=none", ssl.CERT_NONE),
    ],
)
def test_certificates_are_checked_by_kombu_as_by_redis_py(url, certificates):
    """Given TLS, when kombu and redis-py get it, then both check certificates unless it says no."""
    assert seen_by_kombu(url)["ssl_cert_reqs"] == certificates
    connection: Any = redis.Redis.from_url(RedisAddress.parse(url).for_redis).connection_pool.make_connection()
    assert connection.cert_reqs == certificates


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("not a url", r"redis://host:6379/0, rediss://.*, unix:///path.* or redis\+socket:///path"),
        ("localhost:6379", "write it like redis://"),
        ("http://secret@h:1/", "write it like redis://"),
        ("redis:/h", "write it like redis://"),
        ("sentinel://h:26379/0", "write it like redis://"),
        ("redis://h:port/0", "write it like redis://"),
        ("redis://:se/cret@h/0", "%2F"),
        ("redis://:se#cret@h/0", "%23"),
        ("redis://:se?cret@h/0", "%3F"),
        ("redis://h/zero", "the database is one number"),
        ("redis://h/1?db=2", "the database is one number"),
        ("redis://h/0?socket_timeout=3", "only db and ssl_"),
        ("redis://h/0?ssl_cert_reqs=none", "rediss://"),
        ("unix://run/r.sock", "absolute path"),
        ("unix:///", "absolute path"),
        ("unix:///r.sock?db=-1", "the database is one number"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_can(url, says, monkeypatch):
    """Given an address of another kind, when the settings are read, then one sentence names the variable and the forms
    that work, and repeats nothing that may be a password.
    """
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(SettingsError, match=rf"^REDIS_URL: .*{says}") as caught:
        read_settings()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "cret" not in str(caught.value)


def test_an_empty_address_is_none(monkeypatch):
    """Given REDIS_URL set to nothing, as compose does with a variable that is not set, then it is the default."""
    monkeypatch.setenv("REDIS_URL", "")
    assert read_settings().redis_url == "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://me:secret@h:7/3", "redis://h:7/3"),
        ("rediss://:secret@[::1]", "rediss://[::1]:6379/0"),
        ("redis+socket://:secret@/run/r.sock", "unix:///run/r.sock?db=0"),
    ],
)
def test_people_see_no_password(url, shown):
    """Given an address with a password, when it is shown, here or by kombu, then without it."""
    address = RedisAddress.parse(url)
    assert address.shown == shown
    assert "secret" not in Connection(address.for_celery).as_uri()
