"""Which URLs an endpoint may have, as far as it can be told without asking anybody."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address

from datalane.errors import InvalidInput
from datalane.kit.outbound import Address, Network, check_url, is_public

_THIS_MACHINE = IPv4Address("127.0.0.1")


def check_target(url: str, allowed: Sequence[Network] = ()) -> str:
    """`url` without its fragment. Names are looked up when something is sent, each time.

    Raises `InvalidInput` for what is no URL, holds credentials, is not https, or names an address that is not public.
    In the `allowed` networks, which are for development, an address may be private and the scheme http.
    """
    checked = check_url(url)
    address = _address(checked.host)
    is_allowed = address is not None and any(
        address in network for network in allowed if network.version == address.version
    )
    if address is not None and not is_public(address, allowed):
        raise InvalidInput("the URL names an address that is not public", [_fault("address_refused")])
    if checked.scheme != "https" and not is_allowed:
        raise InvalidInput("the URL of an endpoint begins with https://", [_fault("not_https")])
    return str(checked)


def _address(host: str) -> Address | None:
    if host.rstrip(".").lower() == "localhost":
        return _THIS_MACHINE
    try:
        return ip_address(host)
    except ValueError:
        return None


def _fault(code: str) -> dict[str, str]:
    return {"field": "body.url", "message": "this URL is not sent to", "code": code}
