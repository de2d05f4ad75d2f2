"""Whether a secret is strong enough to be one. A machine keeps these, nobody types them, so they may be long.

The bound is meant for secrets made by chance: 16 random characters are 64 bits of hexadecimal or 96 of base64. What
people make up is longer than it is hard to guess, so a well-known word, a run (`123`, `abc`) or a repetition in it
does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MINIMUM_CHARACTERS = 16
HOW_TO_MAKE = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
"""A command that prints a good one; it needs no network."""

_TELLING, _DIFFERENT = 8, 5
"""So many characters must tell something, and so many of them be different."""

_SHORTEST_NAME = 4
_KNOWN = re.compile(
    "administrator|admin|root|superuser|postgresql|postgres|database|datalane|password|passwd|passwort|secret|token|"
    "change[-_. ]?me|change[-_. ]?it|replace[-_. ]?me|default|example|welcome|letmein|iloveyou|foobar|"
    "qwertyuiop|qwerty|asdfghjkl|asdfgh|zxcvbnm|zxcvbn|production|development|staging|metrics"
)
_DISGUISES = str.maketrans("01345@$", "oleasas")


def weakness(secret: str, *names: str) -> str | None:
    """What is weak about `secret`, as the rest of a sentence that begins with it ("is shorter than …"), or None.

    `names` are what a guesser tries first, such as the user's name. No part of the secret is in the answer.
    """
    if len(secret) < MINIMUM_CHARACTERS:
        return f"is shorter than {MINIMUM_CHARACTERS} characters"
    if (secret + secret).find(secret, 1) < len(secret):
        return "says the same again and again"
    if not _tells_enough(secret):
        return "has too few different characters"
    if not _tells_enough(_without_words(secret, names)):
        return "is little more than a well-known word or the name of its user"
    return None


def _without_words(secret: str, names: tuple[str, ...]) -> str:
    rest = _plain(secret)
    for name in names:
        if len(name) >= _SHORTEST_NAME:
            rest = rest.replace(_plain(name), "")
    return _KNOWN.sub("", rest)


def _plain(text: str) -> str:
    """Without capitals, and with letters for the digits that stand for them."""
    return text.casefold().translate(_DISGUISES)


def _tells_enough(text: str) -> bool:
    telling = list(_unforeseen(text))
    return len(telling) >= _TELLING and len(set(telling)) >= _DIFFERENT


def _unforeseen(text: str) -> Iterator[str]:
    """The characters that are neither the one before again nor its neighbour."""
    before = -2
    for character in text:
        if abs(ord(character) - before) > 1:
            yield character
        before = ord(character)
