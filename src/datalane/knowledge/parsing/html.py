"""HTML: the main content by trafilatura; where it finds none, all visible text of the page."""

from __future__ import annotations

import codecs
import re
from copy import deepcopy

import trafilatura
from lxml import etree, html  # type: ignore[import-untyped]

from datalane.knowledge.headings import locate, one_line, tidy
from datalane.knowledge.parsing.errors import EmptyText
from datalane.knowledge.parsing.media import Extraction
from datalane.knowledge.text import decode_text, repair_text

PARSER_VERSION = f"html/2 trafilatura/{trafilatura.__version__}"

_CHARSET = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?\s*([a-zA-Z0-9_:.-]+)""", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>", re.IGNORECASE)
_DECLARED_WITHIN = 4096
# Not the whole head: the HTML parser leaves elements it does not know, such as nav, in there.
_HIDDEN = ("script", "style", "noscript", "template", "title")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre",
    "section", "table", "td", "th", "tr", "ul",
})  # fmt: skip


def parse(data: bytes) -> Extraction:
    """Raises UndecodableText, EmptyText."""
    # lxml refuses a string that still declares an encoding of its bytes.
    source = _XML_DECLARATION.sub("", decode_text(data, _declared_encoding(data)))
    if not source.strip():
        raise EmptyText()
    try:
        root = html.document_fromstring(source, parser=_parser())
    except etree.ParserError as error:
        raise EmptyText() from error
    title = _find_title(root)
    headings = [(int(one.tag[1]), one_line(repair_text(one.text_content()))) for one in root.iter(*_HEADINGS)]
    content = trafilatura.extract(deepcopy(root), include_comments=False, include_tables=True)
    text = repair_text(content or _visible_text(root))
    return Extraction(text, title=title, headings=tidy(locate(text, headings)))


def _parser() -> html.HTMLParser:
    """Reads on past a value of more than 10 MB, where lxml else stops; the child's memory is bounded anyway."""
    return html.HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True, collect_ids=False)


def _declared_encoding(data: bytes) -> str:
    match = _CHARSET.search(data[:_DECLARED_WITHIN])
    if match is None:
        return "utf-8"
    try:
        info = codecs.lookup(match.group(1).decode("ascii"))
    except LookupError:
        return "utf-8"
    # A page whose declaration we could read as ASCII is not UTF-16; and codecs such as `base64` decode no text.
    if info.name.startswith(("utf-16", "utf-32")) or not info._is_text_encoding:
        return "utf-8"
    # Browsers read the label iso-8859-1 as windows-1252 (WHATWG Encoding Standard).
    return "cp1252" if info.name in ("iso8859-1", "ascii") else info.name


def _find_title(root: html.HtmlElement) -> str | None:
    for path in ("//head/title", "//title", "//h1"):
        for element in root.iterfind("." + path):
            title = " ".join(repair_text(element.text_content()).split())
            if title:
                return title
    return None


def _visible_text(root: html.HtmlElement) -> str:
    etree.strip_elements(root, *_HIDDEN, with_tail=False)
    parts: list[str] = []
    for event, element in etree.iterwalk(root, events=("start", "end")):
        block = element.tag in _BLOCKS
        if block:
            parts.append("\n")
        if event == "start" and isinstance(element.tag, str):
            parts.append(re.sub(r"\s+", " ", element.text or ""))
        elif event == "end":
            parts.append(re.sub(r"\s+", " ", element.tail or ""))
    lines = (line.strip() for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line)
