"""Which addresses anybody may reach: those that IANA's special-purpose registries call global (RFC 6890)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
_INSIDE = tuple(
    ip_network(each)
    for each in (
        *("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "fec0::/10", "3fff::/20", "64:ff9b:1::/48"),
        *("2001::/32", "2002::/16", "5f00::/16", "::/96", "::ffff:0:0:0/96"),
    )
)
"""What is not for everybody though not every Python says so: newer registries, hosts of clouds, tunnels that carry an
address of version 4 (Teredo, 6to4, compatible and translated ones)."""


def is_public(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether anybody may reach `address`, or one of the `allowed` networks has it. A mapped address of version 4, or
    one behind NAT64, is as public as that."""
    carried = _carried(address)
    if carried is not None:
        return is_public(carried, allowed)
    if any(address in network for network in allowed if network.version == address.version):
        return True
    if any(address in network for network in _INSIDE if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _carried(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped
