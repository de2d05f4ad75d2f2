"""Which URLs an endpoint may have, as far as it can be told without asking anybody."""

from __future__ import annotations

from collections.abc import Sequence

from datalane.errors import InvalidInput
from datalane.kit.addresses import Network
from datalane.kit.outbound import FetchRefused, check_secure


def check_target(url: str, allowed: Sequence[Network] = ()) -> str:
    """`url` without its fragment. Names are looked up when something is sent, each time.

    Raises `InvalidInput` for what is no URL, holds credentials, is not https, or names an address that is not public.
    In the `allowed` networks, which are for development, an address may be private and the scheme http.
    """
    try:
        return str(check_secure(url, allowed))
    except FetchRefused as error:
        fault = {"field": "body.url", "message": "this URL is not sent to", "code": error.reason}
        raise InvalidInput(str(error), [fault]) from None
