"""Personal data in texts, found by its shape and, where it has some, by its check digits.

Every search takes time in proportion to the length of the text, whatever stands in it: each pattern is bounded where it
may begin anywhere in what it reads over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from ipaddress import ip_address
from typing import Literal

Detector = Literal["email", "phone", "card", "iban", "ip"]
Place = tuple[int, int]

_EMAIL = re.compile(
    r"(?<![\w.%+'-])[\w.%+'-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_][\w-]{0,61}[^\W_](?![\w-])"
)
_GROUPS = re.compile(r"(?<!\d)\d{3,}(?:[ -]\d{3,})*(?!\d)")
_GROUP = re.compile(r"\d+")
_IBAN = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}")
_PHONE = re.compile(r"(?<![\w+])(?:\+|00)[1-9](?:[ ./()\u00a0-]{0,2}\d){6,14}(?!\d)")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_HEXADECIMAL = re.compile(r"(?<![\w:])[0-9A-Fa-f:][0-9A-Fa-f:.]+(?!\w)")

_CARD_DIGITS = range(13, 20)
_CARD_BEGINS = frozenset("23456")
"""By ISO/IEC 7812: travel, banking, merchandising and petroleum. Moments in milliseconds begin with a 1."""
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_LONGEST_ADDRESS = 45
_ENDINGS_OF_PHONES = 3
"""How many groups of digits behind a number are tried as not being part of it."""

# Source: the IBAN registry of SWIFT.
_IBAN_LENGTHS: Mapping[str, int] = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}


def mask_detected(text: str, detectors: Iterable[Detector], mask: str) -> str:
    """`text` with what the detectors find replaced by `mask`."""
    for name in detectors:
        for find in _FINDERS[name]:
            text = _masked(text, find(text), mask)
    return text


def is_card(number: int) -> bool:
    """Whether a number that was not written as text is that of a payment card."""
    digits = str(number)
    return len(digits) in _CARD_DIGITS and digits[0] in _CARD_BEGINS and _has_luhn(digits)


def _masked(text: str, found: Iterable[Place], mask: str) -> str:
    parts, at = list[str](), 0
    for start, end in found:
        parts += (text[at:start], mask)
        at = end
    return "".join((*parts, text[at:])) if parts else text


def _find_cards(text: str) -> Iterator[Place]:
    """Whole groups of digits, with a space or a hyphen between them, that together pass the check of Luhn."""
    for found in _GROUPS.finditer(text):
        groups = [(each.start(), each.end()) for each in _GROUP.finditer(text, *found.span())]
        place = 0
        while place < len(groups):
            end = _card_from(text, groups, place)
            if end is None:
                place += 1
                continue
            yield groups[place][0], groups[end][1]
            place = end + 1


def _card_from(text: str, groups: list[Place], first: int) -> int | None:
    """The last group of the longest card that begins with the group `first`."""
    if text[groups[first][0]] not in _CARD_BEGINS:
        return None
    digits, ends = "", list[tuple[int, str]]()
    for last in range(first, len(groups)):
        start, end = groups[last]
        if len(digits) + end - start > _CARD_DIGITS[-1]:
            break
        digits += text[start:end]
        if len(digits) in _CARD_DIGITS:
            ends.append((last, digits))
    return next((last for last, number in reversed(ends) if _has_luhn(number)), None)


def _has_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B. Only digits of ASCII are those of a card."""
    if not digits.isascii():
        return False
    total = sum(map(int, digits[-1::-2])) + sum(_DOUBLED[int(each)] for each in digits[-2::-2])
    return total % 10 == 0


def _find_ibans(text: str) -> Iterator[Place]:
    at = 0
    while found := _IBAN.search(text, at):
        end = _end_of_iban(text, found)
        if end is None:
            at = found.start() + 2
        else:
            yield found.start(), end
            at = end


def _end_of_iban(text: str, found: re.Match[str]) -> int | None:
    """Where it ends, by the length that its country has, if its check digits are right (ISO 7064, 97-10)."""
    length = _IBAN_LENGTHS.get(found[0][:2].upper())
    if length is None:
        return None
    plain, at = "", found.start()
    while at < found.end() and len(plain) < length:
        plain += text[at] if text[at] not in " -" else ""
        at += 1
    if len(plain) < length or text[at : at + 1].isalnum() or not plain.isascii():
        return None
    return at if int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1 else None


def _find_phones(text: str) -> Iterator[Place]:
    """Numbers with their country: without it nothing tells a number of a phone from any other."""
    for found in _PHONE.finditer(text):
        start, end = found.span()
        for _ in range(1 + _ENDINGS_OF_PHONES):
            if _is_phone(text[start:end]):
                yield start, end
                break
            end = _without_last_group(text, start, end)


def _is_phone(written: str) -> bool:
    import phonenumbers  # knows the numbers of every country; few processes need it

    try:
        number = phonenumbers.parse(f"+{written[2:]}" if written.startswith("00") else written)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(number)


def _without_last_group(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1].isdigit():
        end -= 1
    while end > start and not text[end - 1].isdigit():
        end -= 1
    return end


def _find_addresses(text: str) -> Iterator[Place]:
    for found in _IPV4.finditer(text):
        if _is_address(found[0]):
            yield found.span()


def _find_long_addresses(text: str) -> Iterator[Place]:
    for found in _HEXADECIMAL.finditer(text):
        written = found[0].rstrip(".")
        written = written[:-1] if written.endswith(":") and not written.endswith("::") else written
        if written.count(":") < 2 or len(written) > _LONGEST_ADDRESS or not any(map(str.isdigit, written)):
            continue
        if _is_address(written):
            yield found.start(), found.start() + len(written)


def _is_address(written: str) -> bool:
    try:
        ip_address(written)
    except ValueError:
        return False
    return True


def _find(pattern: re.Pattern[str], text: str) -> Iterator[Place]:
    return (found.span() for found in pattern.finditer(text))


_FINDERS: Mapping[Detector, tuple[Callable[[str], Iterable[Place]], ...]] = {
    "email": (partial(_find, _EMAIL),),
    "iban": (_find_ibans,),
    "card": (_find_cards,),
    "phone": (_find_phones,),
    "ip": (_find_long_addresses, _find_addresses),  # a long one may end in a short one
}
DETECTORS: tuple[Detector, ...] = ("email", "iban", "card", "phone", "ip")
"""In the order in which they look: an IBAN may hold what looks like a card."""
