"""REDIS_URL taken apart, and written the way each library wants it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

_FORMS = (
    "redis://host:6379/0, rediss://host:6379/0 (TLS), unix:///path/to/socket?db=0 or redis+socket:///path/to/socket"
)
_SOCKETS = ("unix", "redis+socket")
_SCHEMES = ("redis", "rediss", *_SOCKETS)
_ESCAPES = "where a password has one of / ? # @ : % write it as %2F %3F %23 %40 %3A %25"


@dataclass(frozen=True)
class RedisAddress:
    """One server and database. `socket` is the path of a Unix socket, "" where host and port are used.

    `tls`: the `ssl_...` options of redis-py, which kombu knows by the same names.
    """

    host: str = ""
    port: int = 6379
    socket: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    secure: bool = False
    tls: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises ValueError with a sentence that names what works; it never repeats the address, which may hold a
        password.
        """
        parts = _split(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        tls = {name: options.pop(name) for name in sorted(options) if name.startswith("ssl_")}
        if tls and parts.scheme != "rediss":
            raise ValueError("ssl_... options belong to rediss:// addresses.")
        is_socket = parts.scheme in _SOCKETS
        # the second is Celery's word for it
        named = [options.pop(name) for name in ("db", "virtual_host") if name in options]
        if not is_socket:
            named += [parts.path.strip("/")]
        if options:
            raise ValueError(f"of options only db and ssl_... can be set in the address; {_ESCAPES}.")
        if is_socket and (parts.hostname or not parts.path.strip("/")):
            raise ValueError("a Unix socket is named by its absolute path, as in unix:///path/to/socket.")
        return cls(
            host="" if is_socket else unquote(parts.hostname or "") or "127.0.0.1",
            port=parts.port or 6379,
            socket=unquote(parts.path) if is_socket else "",
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=_database(named),
            secure=parts.scheme == "rediss",
            tls=tls,
        )

    @property
    def for_redis(self) -> str:
        """For redis-py's `from_url`."""
        if self.socket:
            return f"unix://{self._login()}{_path(self.socket)}?db={self.database}"
        return self._over_tcp(self.tls)

    @property
    def for_celery(self) -> str:
        """For kombu, the transport below Celery."""
        if self.socket:
            return f"redis+socket://{self._login()}{_path(self.socket)}?virtual_host={self.database}"
        # without a word about certificates kombu would check none, where redis-py checks
        return self._over_tcp({"ssl_cert_reqs": "required", **self.tls} if self.secure else {})

    @property
    def for_limits(self) -> str:
        """For the storage of the `limits` library."""
        return f"redis+{self.for_redis}" if self.socket else self.for_redis

    @property
    def shown(self) -> str:
        """For people: without the password."""
        where = f"unix://{self.socket}" if self.socket else f"{self._scheme}://{self._place}"
        return f"{where}?db={self.database}" if self.socket else f"{where}/{self.database}"

    def timeouts(self, seconds: float) -> dict[str, float]:
        """Options of a redis-py connection that gives up after so long instead of hanging."""
        if self.socket:
            return {"socket_timeout": seconds}
        return {"socket_timeout": seconds, "socket_connect_timeout": seconds}

    @property
    def _scheme(self) -> str:
        return "rediss" if self.secure else "redis"

    @property
    def _place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def _over_tcp(self, options: Mapping[str, str]) -> str:
        query = f"?{urlencode(options)}" if options else ""
        return f"{self._scheme}://{self._login()}{self._place}/{self.database}{query}"

    def _login(self) -> str:
        if not self.username and not self.password:
            return ""
        return f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        raise ValueError(f"this is no address of a Redis; write it like {_FORMS}; {_ESCAPES}.") from None
    if parts.scheme not in _SCHEMES or not url.strip().lower().startswith(f"{parts.scheme}://"):
        raise ValueError(f"this is no address of a Redis; write it like {_FORMS}.")
    if parts.fragment:
        raise ValueError(f"this is no address of a Redis; {_ESCAPES}.")
    return parts


def _path(path: str) -> str:
    return quote(path, safe="/")


def _database(named: list[str]) -> int:
    numbers = {name for name in named if name} or {"0"}
    number = numbers.pop()
    if numbers or not (number.isascii() and number.isdigit()):
        raise ValueError("the database is one number, as in redis://host:6379/0 or unix:///path/to/socket?db=0.")
    return int(number)
