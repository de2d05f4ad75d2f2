"""The secrets among the settings: each has a rule here that says when it is missing or weak.

A login without a password is right where the server lets in by other means: at a Unix socket or on this machine (peer,
trust, a proxy that authenticates itself), with a password from `PGPASSWORD` or a password file, with a client
certificate or by Kerberos. Anywhere else it means that whoever reaches the server is let in. A password that is there
must be a good one wherever it is used: what is near today is a network address tomorrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from urllib.parse import parse_qs, unquote, urlsplit

from datalane.environment import Fault
from datalane.kit.secrets import HOW_TO_MAKE, weakness

Rule = Callable[[str, str, Mapping[str, str]], Iterator[Fault]]
"""The faults of a variable with this value in this environment."""

_PLAIN_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_SCHEMES = ("postgresql://", "postgres://")
_OTHER_WAYS = {
    "sslcert": "PGSSLCERT",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "krbsrvname": "PGKRBSRVNAME",
    "gsslib": "PGGSSLIB",
}
"""Parameters of a URL, and the variables that stand for them, that let in without a password in either."""


def check_login(variable: str, url: str, environment: Mapping[str, str]) -> Iterator[Fault]:
    """The fault of the password in the URL of a database login, if it has one.

    A URL that cannot be read is left to whoever connects, who says so.
    """
    if not url.startswith(_SCHEMES):
        return
    try:
        login = _Login(url, environment)
    except ValueError:
        return
    if login.password is not None:
        reason = weakness(login.password, login.user)
        if reason is not None:
            yield Fault(login.holds_password(variable), f"the password {reason}", login.mend(variable))
    elif not login.is_near and not login.has_other_way(environment):
        message = "there is no password, and the database is not on this machine"
        yield Fault(variable, message, f"{login.mend(variable)}; or give it PGPASSWORD, a password file or sslcert")


def check_token(variable: str, token: str, environment: Mapping[str, str]) -> Iterator[Fault]:
    """The fault of a secret that is made here and told to nobody but those who use it."""
    reason = weakness(token)
    if reason is not None:
        yield Fault(variable, f"the token {reason}", f"make one with `{HOW_TO_MAKE}` and put it into {variable}")


def check_tokens(variable: str, tokens: str, environment: Mapping[str, str]) -> Iterator[Fault]:
    """The faults of several secrets with commas between."""
    for token in filter(None, (part.strip() for part in tokens.split(","))):
        yield from check_token(variable, token, environment)


def check_given(variable: str, password: str, environment: Mapping[str, str]) -> Iterator[Fault]:
    """The fault of a secret that another system gave, and whose length is that system's to decide."""
    if not password.strip():
        yield Fault(
            variable, "the password is empty", "put in what the mail server gave you, or leave it and the user out"
        )


def check_key(variable: str, key: str, environment: Mapping[str, str]) -> Iterator[Fault]:
    """As `check_given`, of a key that is left out where none is wanted."""
    if not key.strip():
        yield Fault(variable, "the key is empty", "put in what the provider gave you, or leave it out")


SECRETS: Mapping[str, Rule] = MappingProxyType(
    {
        "DATALANE_DATABASE_URL": check_login,
        "DATALANE_MAINTENANCE_URL": check_login,
        "DATALANE_OPERATOR_URL": check_login,
        "DATALANE_CURSOR_KEY": check_token,
        "DATALANE_MASTER_KEY": check_token,
        "DATALANE_MASTER_KEYS_BEFORE": check_tokens,
        "DATALANE_TELEMETRY__METRICS_TOKEN": check_token,
        "DATALANE_EMAIL__PASSWORD": check_given,
        "DATALANE_ASSISTANT__API_KEY": check_key,
    }
)


def find_weak(environment: Mapping[str, str]) -> Iterator[Fault]:
    """A fault for each secret among the settings that is weak, or missing where something is set that needs it."""
    given = {name.upper(): value for name, value in environment.items()}
    told = set[str]()
    for variable, rule in SECRETS.items():
        for fault in rule(variable, given[variable], environment) if variable in given else ():
            if fault.variable not in told:
                told.add(fault.variable)
                yield fault


class _Login:
    """What a URL and the environment say of a login. Raises `ValueError` for a URL that cannot be read."""

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        named = self._query.get("host", "").split(",") if "host" in self._query else _hosts(parts.netloc)
        self._hosts = [host for host in named if host] or environment.get("PGHOST", "").split(",")
        self.user = unquote(parts.username or "") or self._query.get("user") or environment.get("PGUSER", "")
        written = unquote(parts.password or "") or self._query.get("password")
        self.password = written or environment.get("PGPASSWORD") or None
        self._source = "PGPASSWORD" if self.password and not written else None

    def holds_password(self, variable: str) -> str:
        """The variable that the password stands in, or should."""
        return self._source or variable

    @property
    def is_near(self) -> bool:
        """Whether the server is on this machine; one that is not named is looked for there."""
        return all(_is_near(host) for host in self._hosts)

    def has_other_way(self, environment: Mapping[str, str]) -> bool:
        named = any(self._query.get(parameter) or environment.get(name) for parameter, name in _OTHER_WAYS.items())
        home = Path(environment.get("HOME") or "~").expanduser()
        return named or any((home / file).is_file() for file in (".pgpass", ".postgresql/postgresql.crt"))

    def mend(self, variable: str) -> str:
        role = self.user if _PLAIN_ROLE.fullmatch(self.user) else "<its user>"
        return (
            f"make one with `{HOW_TO_MAKE}`, set it with ALTER ROLE {role} PASSWORD '…' and put it into "
            f"{self.holds_password(variable)}, or run `datalane init --reset-passwords`"
        )


def _hosts(netloc: str) -> list[str]:
    """Without user, password and ports. Raises `ValueError` for a port that is no number."""
    places = [urlsplit(f"//{place}") for place in netloc.rpartition("@")[2].split(",") if place]
    for place in places:
        _ = place.port
    return [unquote(place.hostname or "") for place in places]


def _is_near(host: str) -> bool:
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
