"""Addresses: a taken port is told apart from a free one, and a server's address is one that a client can use."""

import socket

import pytest

from client.local.errors import LaunchError
from client.local.ports import base_url, check_free, free_port


def test_a_port_in_use_is_one_line_that_names_the_way_out() -> None:
    """Given a port that somebody listens on, when it is checked, then the error offers another PORT."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LaunchError, match=rf"Port {port} on 127\.0\.0\.1 is in use.*PORT=\d+ make run") as caught:
            check_free("127.0.0.1", port)
    assert "\n" not in str(caught.value)


def test_a_free_port_passes_and_stays_free() -> None:
    """Given a free port, when it is checked twice, then nothing is raised: the check holds nothing."""
    port = free_port()
    check_free("127.0.0.1", port)
    check_free("127.0.0.1", port)


def test_a_host_that_is_not_this_machine_names_the_setting() -> None:
    """Given an address of another machine, when a server should listen there, then the error names HOST."""
    with pytest.raises(LaunchError, match=r"HOST=192\.0\.2\.1"):
        check_free("192.0.2.1", free_port())


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5001"),
        ("0.0.0.0", "http://127.0.0.1:5001"),  # noqa: S104 - nobody binds it
        ("::", "http://[::1]:5001"),
        ("::1", "http://[::1]:5001"),
        ("localhost", "http://localhost:5001"),
    ],
)
def test_the_address_for_clients(host: str, url: str) -> None:
    """Given what a server is bound to, then the address for clients here is a reachable one."""
    assert base_url(host, 5001) == url
