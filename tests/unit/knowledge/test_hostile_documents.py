"""Documents that are large or strange without being broken, through a real child."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest

from datalane.knowledge.extraction import Extracted, ExtractionPool, Failure, Source

MEBIBYTE = 1024 * 1024
_OFFICE = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = b"http://schemas.openxmlformats.org/package/2006/relationships"


async def outcome(source: Source, seconds: float = 60.0) -> Extracted | Failure:
    async with ExtractionPool(1, timeout_seconds=seconds) as pool:
        [result] = await pool.extract_many([source])
        return result


def page(body: bytes) -> Source:
    scripts = b"<script>stolen()</script>"
    html = b"<html><head>%b</head><body><main>%b%b</main></body></html>" % (scripts, body, scripts)
    return Source(html, "page.html")


async def test_a_pdf_of_5_000_pages_keeps_every_page(make_pdf: Callable[..., bytes]) -> None:
    pages = [f"This is page {number} of very many." for number in range(5_000)]
    result = await outcome(Source(make_pdf(*pages), "long.pdf"))
    assert isinstance(result, Extracted)
    assert result.page_starts is not None
    assert len(result.page_starts) == 5_000
    for number in (0, 2_500, 4_999):
        assert result.text[result.page_starts[number] :].startswith(pages[number])


async def test_an_attribute_of_10_mb_hides_no_text_and_a_script_is_none() -> None:
    attribute = b"x" * (10 * MEBIBYTE + 1)
    result = await outcome(page(b"<p data-x='%b' onclick='stolen()'>The visible words.</p>" % attribute))
    assert isinstance(result, Extracted)
    assert result.text == "The visible words."


async def test_html_of_countless_attributes_costs_its_time_and_no_more() -> None:
    attributes = b" ".join(b"a%d='%b'" % (number, b"v" * 200) for number in range(50_000))
    result = await outcome(page(b"<p %b>words</p>" % attributes), seconds=2.0)
    assert isinstance(result, Failure)
    assert result.error_class == "parse_timeout"


@pytest.mark.parametrize("target", ["document.xml", "header1.xml"])
async def test_a_docx_whose_parts_name_each_other_in_a_ring_is_read(
    make_docx: Callable[..., bytes], target: str
) -> None:
    out = io.BytesIO()
    header = b'<w:hdr xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:p/></w:hdr>'
    ring = b'<Relationship Id="%b" Type="%b/header" Target="%b"/>'
    with zipfile.ZipFile(io.BytesIO(make_docx("Words in a ring."))) as made, zipfile.ZipFile(out, "w") as changed:
        for name in made.namelist():
            data = made.read(name)
            if name == "word/_rels/document.xml.rels":
                data = data.replace(b"</Relat", ring % (b"rId900", _OFFICE, b"header1.xml") + b"</Relat")
            if name == "[Content_Types].xml":
                kind = b"application/vnd.openxmlformats-officedocument.wordprocessingml.header+xml"
                part = b'<Override PartName="/word/header1.xml" ContentType="%b"/>' % kind
                data = data.replace(b"</Types>", part + b"</Types>")
            changed.writestr(name, data)
        changed.writestr("word/header1.xml", header)
        back = ring % (b"rId1", _OFFICE, target.encode())
        rels = b'<Relationships xmlns="%b">%b</Relationships>' % (_PACKAGE, back)
        changed.writestr("word/_rels/header1.xml.rels", rels)
    result = await outcome(Source(out.getvalue(), "ring.docx"))
    assert isinstance(result, Extracted)
    assert result.text == "Words in a ring."
