"""Secrets do not reach logs, error messages or stored rows: known names are masked, known shapes are cut out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MASK = "[redacted]"

_SECRET_NAME = re.compile(
    r"password|passwd|secret|token|authorization|cookie|api[_-]?key|credential|private[_-]?key|dsn|signature", re.I
)
_HARMLESS_NAME = re.compile(
    r"(_ids?|_count|_at|_verified|idempotency_key|(input|output|cached|total|max|prompt)_tokens)$", re.I
)

# None may begin anywhere in what it reads over without a bound, so that the time goes by the length of a text.
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(dl[iw]?)_([0-9a-f]{32})_([0-9a-f]{32})_[A-Za-z0-9_-]+"), rf"\1_\2_\3_{MASK}"),
    (re.compile(r"dlr_[A-Za-z0-9_-]{43}_[A-Za-z0-9_-]+"), f"dlr_{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+"), rf"\1 {MASK}"),
    (
        re.compile(r"(?<![^\s@])(?=[^\s@]++@)([^\s@]*?[a-z0-9+.-]://[^\s:/@]*:)[^\s@]+@", re.I),
        rf"\1{MASK}@",
    ),
    (
        re.compile(
            r"(?i)\b(password|passwd|secret|token|api[_-]?key)(\"?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&'\"}]+)"
        ),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"\$argon2[a-z]*\$[^\s\"']+"), MASK),
    (re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{1,1000}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), MASK),
)

_HINTS = (
    *("dl_", "dli_", "dlr_", "dlw_", "bearer", "basic", "://"),
    *("passw", "secret", "token", "key", "argon2", "eyj"),
)
"""No shape matches a text without one of these, and most texts have none. To look for them so takes a tenth of one
expression for all."""

_DEEPEST = 12


def redact_text(text: str) -> str:
    """`text` with everything that looks like a credential cut out."""
    folded = text.casefold()
    if not any(hint in folded for hint in _HINTS):
        return text
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret: `password`, `api_key`, `webhook_secret`; not `token_count`."""
    return bool(_SECRET_NAME.search(name)) and not _HARMLESS_NAME.search(name)


def redact(value: Any, depth: int = 0) -> Any:
    """A copy of `value` in which secrets are masked, at any depth of mappings and sequences."""
    if isinstance(value, str):
        return redact_text(value)
    if depth >= _DEEPEST:
        return MASK if isinstance(value, (Mapping, list, tuple, set, frozenset)) else value
    if isinstance(value, Mapping):
        return {
            key: MASK if item is not None and is_secret_name(str(key)) else redact(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return f"[{len(value)} bytes]"
    return value
