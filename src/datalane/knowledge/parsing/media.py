"""The kinds of files the lane reads, and the registry of their parsers.

A program adds a kind of its own with `register_parser`; extraction children run the same registration when the pool
is given its import path (`ExtractionPool(setup=("module:function",))`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from datalane.knowledge.headings import Heading

TEXT = "text/plain"
MARKDOWN = "text/markdown"
HTML = "text/html"
PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

TEXT_FAMILY = frozenset({TEXT, MARKDOWN, HTML})


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a parser returns: canonical text, the title if the format has one, where each page starts (characters), and
    the headings in their order."""

    text: str
    title: str | None = None
    page_starts: tuple[int, ...] = ()
    headings: tuple[Heading, ...] = ()


Parser = Callable[[bytes], Extraction]


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file. `load` returns the parser and its version, importing heavy libraries only then."""

    media_type: str
    extensions: tuple[str, ...]
    load: Callable[[], tuple[Parser, str]]


_formats: dict[str, Format] = {}
_extensions: dict[str, str] = {}


def register_parser(media_type: str, extensions: tuple[str, ...], load: Callable[[], tuple[Parser, str]]) -> None:
    """Read files of `media_type`, and of `extensions` (with their dot), with the parser that `load` returns."""
    _formats[media_type] = Format(media_type, extensions, load)
    _extensions.update((extension.lower(), media_type) for extension in extensions)


def find_format(media_type: str) -> Format | None:
    return _formats.get(media_type)


def media_type_of_extension(extension: str) -> str | None:
    return _extensions.get(extension.lower())


def supported_extensions() -> str:
    """The extensions, for a message to people."""
    return ", ".join(sorted(_extensions))


def _load_builtin(module: str) -> Callable[[], tuple[Parser, str]]:
    def load() -> tuple[Parser, str]:
        found = import_module(f"datalane.knowledge.parsing.{module}")
        return found.parse, found.PARSER_VERSION

    return load


register_parser(TEXT, (".txt", ".text"), _load_builtin("plain"))
register_parser(MARKDOWN, (".md", ".markdown"), _load_builtin("markdown"))
register_parser(HTML, (".html", ".htm", ".xhtml"), _load_builtin("html"))
register_parser(PDF, (".pdf",), _load_builtin("pdf"))
register_parser(DOCX, (".docx",), _load_builtin("docx"))
