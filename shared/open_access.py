"""Who may reach a service that needs no key, or that the public dummy key opens: this machine alone, unless the
operator says otherwise."""

import ipaddress

from shared.settings import Settings, SettingsError


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach what listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def require_own_keys(settings: Settings) -> None:
    """Raise SettingsError where others reach a service whose key stands in its README, or that needs none.

    In a container HOST is everywhere; there BIND_ADDRESS tells on which address of the machine its port is published.
    """
    variable, host = ("BIND_ADDRESS", settings.bind_address) if settings.bind_address else ("HOST", settings.host)
    if is_loopback(host):
        return
    if settings.open_access and not settings.allow_open_access:
        raise SettingsError(
            f"{variable}={host} lets other machines in, and with OPEN_ACCESS nobody needs a key: take one of them "
            "back, or set ALLOW_OPEN_ACCESS=true where that is what you want"
        )
    if settings.api_keys or settings.allow_dummy_key or settings.open_access:
        return
    raise SettingsError(
        f"{variable}={host} lets other machines in, and without API_KEYS a key that everybody can read opens the "
        "service: set API_KEYS, or ALLOW_DUMMY_KEY=true where that is what you want"
    )
