"""Where the public dummy key may be in force."""

import pytest

from shared.open_access import is_loopback, require_own_keys
from shared.settings import Settings, SettingsError

EVERYWHERE = ("0.0.0.0", "::", "", "192.168.1.7", "fd00::1", "my-machine.lan", "localhost.evil.example")  # noqa: S104


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LocalHost"])
def test_on_this_machine_alone_no_keys_are_needed(host):
    """Given an address of this machine alone, then the dummy may open it."""
    assert is_loopback(host)
    require_own_keys(Settings(host=host))
    require_own_keys(Settings(host="0.0.0.0", bind_address=host))  # noqa: S104 - in a container


@pytest.mark.parametrize("host", EVERYWHERE)
def test_a_service_that_others_reach_needs_keys(host):
    """Given an address that others reach and no API_KEYS, then one sentence names the setting and both ways out."""
    assert not is_loopback(host)
    with pytest.raises(SettingsError, match=r"HOST=.*API_KEYS.*ALLOW_DUMMY_KEY=true"):
        require_own_keys(Settings(host=host))
    require_own_keys(Settings(host=host, api_keys=("one",)))
    require_own_keys(Settings(host=host, allow_dummy_key=True))


def test_in_a_container_the_published_address_counts():
    """Given HOST everywhere, as in a container, then BIND_ADDRESS decides, and is named."""
    with pytest.raises(SettingsError, match=r"BIND_ADDRESS=0\.0\.0\.0"):
        require_own_keys(Settings(host="0.0.0.0", bind_address="0.0.0.0"))  # noqa: S104


@pytest.mark.parametrize("host", EVERYWHERE)
def test_a_service_that_needs_no_key_stays_on_this_machine(host):
    """Given OPEN_ACCESS and an address that others reach, then only force starts it, whatever keys are set."""
    for keys in ((), ("one",)):
        with pytest.raises(SettingsError, match=r"OPEN_ACCESS.*ALLOW_OPEN_ACCESS=true"):
            require_own_keys(Settings(host=host, open_access=True, api_keys=keys, allow_dummy_key=True))
        require_own_keys(Settings(host=host, open_access=True, api_keys=keys, allow_open_access=True))
    require_own_keys(Settings(host="127.0.0.1", open_access=True))
