"""Text that people send and the database can hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must hold no NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must hold no lone surrogate") from error
    return text


Text = Annotated[str, AfterValidator(_storable)]
