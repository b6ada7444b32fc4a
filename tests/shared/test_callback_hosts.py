"""Whom a job may call when it has ended."""

import pytest

from shared.callback_hosts import CallbackHosts, CallbackUrl

LISTED = CallbackHosts(["hooks.example.org", "*.example.net", "93.184.216.34", "10.1.0.0/16", "fd00::/8"])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://Hooks.Example.org", ("https", "hooks.example.org", 443, "/")),
        ("http://hooks.example.org./a/b?c=d#e", ("http", "hooks.example.org", 80, "/a/b?c=d")),
        ("https://n8n:5678/webhook/%C3%A4", ("https", "n8n", 5678, "/webhook/%C3%A4")),
        ("http://[fd00::1]:81?x", ("http", "fd00::1", 81, "/?x")),
        ("http://10.0.0.1/", ("http", "10.0.0.1", 80, "/")),
    ],
)
def test_a_url_in_its_parts(text: str, parts: tuple[str, str, int, str]) -> None:
    """Given a plain URL, when parsed, then scheme, host, port and target are told apart, the fragment is left out."""
    assert CallbackUrl.parse(text) == CallbackUrl(*parts)


@pytest.mark.parametrize(
    "text",
    [
        "", "example.org", "//example.org/", "ftp://example.org/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_x",
        "redis://redis:6379", "http://", "http:///path", "http://user@example.org/", "http://a:b@example.org/",
        "http://good.example.org@evil.example/", "http://example.org:99999/", "http://example.org:0/",
        "http://example.org:x/", "http://exa mple.org/", "http://example.org\\@evil.example/",
        "http://example.org/\r\nX: y",
        "http://exämple.org/", "http://example.org/ä", "http://[::1", "http://-example.org/", "http://a..b/",
        "http://example.org/\x00", "http://example.org\t.evil.example/", "https://example.org/" + 2000 * "x",
    ],
)  # fmt: skip
def test_what_is_no_plain_url_is_refused(text: str) -> None:
    """Given something odd, when parsed, then it is a ValueError with a sentence."""
    with pytest.raises(ValueError, match=r"^Must "):
        CallbackUrl.parse(text)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.example.org/x", True),
        ("http://HOOKS.example.org.:8080/x", True),
        ("https://a.b.example.net/", True),
        ("https://93.184.216.34/", True),
        ("http://[::ffff:93.184.216.34]/", True),
        ("http://10.1.2.3/", True),
        ("http://[fd12::1]/", True),
        ("https://example.org/", False),
        ("https://evil.hooks.example.org/", False),
        ("https://example.net/", False),
        ("https://notexample.net/", False),
        ("https://93.184.216.35/", False),
        ("http://10.2.0.1/", False),
        ("http://127.0.0.1/", False),
        ("http://[::1]/", False),
        ("http://2130706433/", False),
        ("http://0x7f.1/", False),
        ("http://localhost/", False),
        ("http://169.254.169.254/latest/meta-data", False),
    ],
)
def test_only_listed_hosts_are_called(url: str, allowed: bool) -> None:
    """Given the operator's list, when a URL is looked at, then only a listed host passes, with a reason otherwise."""
    objection = LISTED.objection(CallbackUrl.parse(url))
    assert (objection is None) == allowed, objection


def test_without_a_list_nobody_is_called() -> None:
    """Given no list, when any URL is looked at, then the reason names the setting."""
    assert "CALLBACK_HOSTS" in (CallbackHosts().objection(CallbackUrl.parse("https://example.org/")) or "")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.216.34", True),
        ("8.8.8.8", True),
        ("2606:2800:220:1::1", True),
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::7", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing is bound
        ("10.2.0.1", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("239.1.1.1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("198.18.0.1", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("2001:0:7f00:1::", False),
        ("not an address", False),
    ],
)
def test_a_name_that_leads_inside_is_not_followed(address: str, allowed: bool) -> None:
    """Given where a name leads, when looked at, then public and listed addresses pass, and no other."""
    assert LISTED.may_connect(address) == allowed


@pytest.mark.parametrize(
    "entry", ["http://example.org", "example.org:80", "*", "*.", "a b", "10.0.0.0/99", "a/b", "ex*.org"]
)
def test_a_wrong_entry_is_told(entry: str) -> None:
    """Given an entry that is no host, when the list is read, then the message quotes it."""
    with pytest.raises(ValueError, match="is no name") as caught:
        CallbackHosts([entry])
    assert entry in str(caught.value)
