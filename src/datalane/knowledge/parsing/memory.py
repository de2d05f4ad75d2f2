"""Recognise a lack of memory behind an error that calls itself something else."""

from __future__ import annotations

import errno

_XML_ERR_NO_MEMORY = 2


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether `error`, or one it arose from, says that memory ran out.

    A library that is refused memory may report a damaged file: lxml raises XMLSyntaxError with libxml2's code 2.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if type(error).__name__ == "XMLSyntaxError" and getattr(error, "code", None) == _XML_ERR_NO_MEMORY:
            return True
        error = error.__cause__ or error.__context__
    return False
