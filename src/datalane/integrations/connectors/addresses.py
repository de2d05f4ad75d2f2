"""Where a connector's calls go: under its base URL, however the path is written."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from datalane.errors import InvalidInput
from datalane.kit.outbound import FetchRefused, Outbound, check_url

_DECODED = 3
"""Times that a path is decoded to look for dots: servers in a row may each do it once."""


def plain_path(path: str) -> str:
    """What cannot lead out of the place that it is joined to."""
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError("must begin with one /")
    if "\\" in path or "#" in path or any(ord(one) <= 32 or ord(one) > 126 for one in path):
        raise ValueError("must be printable ASCII without spaces, \\ and #; encode the rest with %")
    decoded = path.partition("?")[0]
    for _ in range(_DECODED + 1):
        # Servers that know path parameters take `..;x` for `..`.
        if "\\" in decoded or {".", ".."} & {part.partition(";")[0] for part in decoded.split("/")}:
            raise ValueError("must not hold . or .. as a part, however it is written")
        decoded = unquote(decoded)
    return path


def join_url(base_url: str, path: str) -> str:
    """`path` under `base_url`. Raises `InvalidInput` for what would be asked elsewhere."""
    base = check_url(base_url)
    try:
        joined = check_url(str(base).rstrip("/") + plain_path(path))
    except (ValueError, FetchRefused) as error:
        raise InvalidInput(f"the path cannot be asked: it {error}") from None
    root = urlsplit(str(base)).path.rstrip("/")
    same = (joined.scheme, joined.host, joined.port) == (base.scheme, base.host, base.port)
    if not same or not urlsplit(str(joined)).path.startswith(f"{root}/"):
        raise InvalidInput("the path leads out of the connector's base_url")
    return str(joined)


def check_base_url(outbound: Outbound, url: str) -> None:
    """Raises `FetchRefused` for what credentials are not sent to, and `InvalidInput` for what no path can follow."""
    checked = outbound.check_secure(url)
    if checked.query or "?" in url or "#" in url:
        raise InvalidInput("base_url has neither a query nor a fragment: paths are joined to it")
    try:
        plain_path(urlsplit(str(checked)).path or "/")
    except ValueError as error:
        raise InvalidInput(f"the path of base_url {error}") from None
