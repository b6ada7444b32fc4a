"""By what clients are told apart before they have shown a key: the networks that their addresses are of."""

import ipaddress

THIS_MACHINE = "this machine"


def client_network(address: str) -> str:
    """An address, of IPv6 the /64 that one household has; THIS_MACHINE for the loopback and for what is no address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return THIS_MACHINE  # a Unix socket
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        elif not parsed.is_loopback:
            return str(ipaddress.ip_network((parsed, 64), strict=False))
    return THIS_MACHINE if parsed.is_loopback else str(parsed)
