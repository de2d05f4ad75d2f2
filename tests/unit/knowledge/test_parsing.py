"""Every kind of file becomes canonical text, and every kind of bad file its own clear error."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest

from datalane.knowledge.parsing import ExtractionError, parse
from datalane.knowledge.parsing.archive import ArchiveLimits, check_archive
from datalane.knowledge.parsing.errors import ArchiveBomb

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

MakePdf = Callable[..., bytes]
MakeDocx = Callable[..., bytes]
ReplacePart = Callable[[str, bytes], bytes]


def failure_of(data: bytes, filename: str | None = None, media_type: str | None = None) -> ExtractionError:
    with pytest.raises(ExtractionError) as caught:
        parse(data, filename, media_type)
    assert not caught.value.retryable
    assert len(str(caught.value)) > 20, "a sentence for people"
    return caught.value


def test_plain_text_is_kept_as_written() -> None:
    parsed = parse(b"one\r\ntwo\0", "notes.txt")
    assert (parsed.text, parsed.title, parsed.media_type) == ("one\ntwo", None, "text/plain")
    assert parsed.parser_version == "text/1"


def test_markdown_keeps_its_source_and_takes_its_first_heading_as_title() -> None:
    parsed = parse(b"intro\n\n## Wing *theory* ##\nbody", "a.md")
    assert parsed.text.startswith("intro\n\n## Wing")
    assert parsed.title == "Wing *theory*"


def test_a_comment_in_a_code_block_is_no_markdown_title() -> None:
    assert parse(b"```sh\n# install\n```\n", "a.md").title is None


def test_html_gives_its_main_content_and_title() -> None:
    page = (
        "<html><head><title>Lift &amp; drag</title><script>evil()</script></head><body><article><h1>Head</h1>"
        + "<p>The wing carries the load of the aircraft in level flight, and bends under it.</p>" * 5
        + "</article></body></html>"
    )
    parsed = parse(page.encode(), "a.html")
    assert parsed.title == "Lift & drag"
    assert "carries the load" in parsed.text
    assert "evil" not in parsed.text
    assert "<" not in parsed.text


def test_html_without_main_content_falls_back_to_all_visible_text() -> None:
    parsed = parse(b"<title>t</title><style>p{}</style><nav>all <b>there</b> is</nav><footer>end</footer>", "a.html")
    assert parsed.text == "all there is\nend"


def test_html_is_decoded_as_it_declares() -> None:
    assert "caf\u00e9" in parse('<meta charset="iso-8859-1"><p>café'.encode("latin-1"), "a.html").text


def test_html_with_an_xml_declaration_is_read() -> None:
    page = b'<?xml version="1.0" encoding="UTF-8"?><html><body><p>gr\xc3\xbcn</p></body></html>'
    assert parse(page, "a.xhtml").text == "grün"


def test_pdf_gives_text_and_where_its_pages_start(make_pdf: MakePdf) -> None:
    parsed = parse(make_pdf("first page", "second page", "third"), "a.pdf")
    assert parsed.text == "first page\n\nsecond page\n\nthird"
    assert [parsed.text[start:][:5] for start in parsed.page_starts] == ["first", "secon", "third"]


def test_pdf_that_only_restricts_printing_is_read(make_encrypted_pdf: Callable[[str, str], bytes]) -> None:
    assert parse(make_encrypted_pdf("", "AES-256"), "a.pdf").text == "a guarded page"


def test_pdf_with_bytes_before_its_header_is_read(make_pdf: MakePdf) -> None:
    assert parse(b"\r\nHTTP junk\r\n" + make_pdf("text"), "a.pdf").text == "text"


def test_docx_gives_paragraphs_tables_and_title(make_docx: MakeDocx) -> None:
    data = make_docx("Grüße 😀", "second", title="Report", table=[["a", "b"], ["c", "d"]])
    parsed = parse(data, "a.docx", DOCX)
    assert (parsed.text, parsed.title) == ("Grüße 😀\nsecond\na\tb\nc\td", "Report")


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.pdf", "a.docx", None])
def test_an_empty_file_is_named(name: str | None) -> None:
    assert failure_of(b"", name).code == "empty_file"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b" \r\n\t ", "a.txt"),
        (b"\0\0\0", "a.txt"),
        (b"\xef\xbb\xbf", "a.md"),
        (b"<html><head><title>only a title</title></head><body><script>1</script></body></html>", "a.html"),
        (b" \n ", "a.html"),
        (b"<!-- nothing -->", "a.html"),
    ],
)
def test_no_character_after_extraction_is_named(data: bytes, name: str) -> None:
    assert failure_of(data, name).code == "empty_text"


def test_a_blank_pdf_and_a_blank_docx_have_no_text(make_pdf: MakePdf, make_docx: MakeDocx) -> None:
    assert failure_of(make_pdf(""), "a.pdf").code == "empty_text"
    assert failure_of(make_docx(" "), "a.docx").code == "empty_text"


def test_a_pdf_of_images_only_is_named(image_only_pdf: bytes) -> None:
    failure = failure_of(image_only_pdf, "scan.pdf")
    assert failure.code == "image_only_pdf"
    assert "OCR" in str(failure)


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-256"])
def test_a_pdf_with_a_password_is_named(make_encrypted_pdf: Callable[[str, str], bytes], algorithm: str) -> None:
    assert failure_of(make_encrypted_pdf("secret", algorithm), "a.pdf").code == "encrypted_pdf"


@pytest.mark.parametrize(
    "data",
    [
        b"%PDF-1.7\ngarbage",
        b"%PDF-1.7",
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 1 0 R >>\nendobj\ntrailer << /Root 1 0 R >>\nstartxref\n9\n%%EOF",
        b"%PDF-1.4\ntrailer << /Root 7 0 R >>\nstartxref\n0\n%%EOF",
    ],
)
def test_a_broken_pdf_is_named(data: bytes) -> None:
    assert failure_of(data, "a.pdf").code == "broken_pdf"


def test_a_pdf_cut_short_is_read_or_named_but_nothing_else(make_pdf: MakePdf) -> None:
    whole = make_pdf("some text", "more text")
    outcomes = {outcome_of(whole[:length]) for length in range(9, len(whole), 37)}
    assert outcomes <= {"read", "broken_pdf", "empty_text"}
    assert "broken_pdf" in outcomes


def outcome_of(pdf: bytes) -> str:
    try:
        parse(pdf, "a.pdf")
    except ExtractionError as error:
        return error.code
    return "read"


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.docx"])
def test_a_pdf_under_another_extension_is_a_mismatch(make_pdf: MakePdf, name: str) -> None:
    failure = failure_of(make_pdf("text"), name)
    assert failure.code == "media_type_mismatch"
    assert "PDF" in str(failure)


@pytest.mark.parametrize(
    ("data", "name", "declared"),
    [
        (b"just text", "a.pdf", None),
        (b"just text", "a.docx", None),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", "a.docx", None),
        (b"\x89PNG\r\n\x1a\n", "a.txt", None),
        (b"%PDF-1.4", "a.pdf", "text/html"),
        (b"text", "a.txt", "text/html"),
        (b"text", "a.pdf", "text/plain"),
    ],
)
def test_a_wrong_extension_or_declaration_is_a_mismatch(data: bytes, name: str, declared: str | None) -> None:
    assert failure_of(data, name, declared).code == "media_type_mismatch"


def test_another_zip_called_docx_is_a_mismatch() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    assert failure_of(out.getvalue(), "a.docx").code == "media_type_mismatch"


@pytest.mark.parametrize(
    ("data", "name", "declared"),
    [
        (b"MZ", "a.exe", None),
        (b"a,b", "a.csv", "application/octet-stream"),
        (b"\x89PNG\r\n\x1a\n", "a.png", "image/png"),
        (b"\x89PNG\r\n\x1a\n", None, None),
        (b"text", "a.txt", "application/x-unknown"),
        (b"", "a.exe", None),
    ],
)
def test_an_unknown_kind_of_file_is_unsupported(data: bytes, name: str | None, declared: str | None) -> None:
    failure = failure_of(data, name, declared)
    assert failure.code == "unsupported_media_type"
    assert failure.status == 415
    assert ".docx" in str(failure)


@pytest.mark.parametrize(
    ("data", "name", "declared", "detected"),
    [
        (b"# t", "a.md", "text/plain; charset=utf-8", "text/markdown"),
        (b"# t", "a.txt", "text/markdown", "text/markdown"),
        (b"t", "UPPER.TXT", "application/octet-stream", "text/plain"),
        (b"t", None, None, "text/plain"),
        (b"t", "README", None, "text/plain"),
        (b"<!DOCTYPE html><p>t", None, None, "text/html"),
        (b"t", "dir.pdf\\a.txt", None, "text/plain"),
    ],
)
def test_name_declaration_and_content_settle_the_kind(
    data: bytes, name: str | None, declared: str | None, detected: str
) -> None:
    assert parse(data, name, declared).media_type == detected


def test_pdf_and_docx_are_known_by_their_content_alone(make_pdf: MakePdf, make_docx: MakeDocx) -> None:
    assert parse(make_pdf("t")).media_type == "application/pdf"
    assert parse(make_docx("t"), None, "application/zip").media_type == DOCX


def test_text_that_is_not_utf_8_is_named() -> None:
    assert failure_of("café".encode("latin-1"), "a.txt").code == "undecodable_text"
    assert failure_of("a\ud800".encode("utf-8", "surrogatepass"), "a.md").code == "undecodable_text"


def test_a_zip_bomb_in_docx_is_refused_before_it_is_unpacked(replace_part: ReplacePart) -> None:
    failure = failure_of(replace_part("word/document.xml", b"\0" * (64 * 1024 * 1024)), "a.docx")
    assert failure.code == "archive_bomb"


def test_a_bomb_in_a_part_that_is_not_the_text_is_refused_too(replace_part: ReplacePart) -> None:
    bomb = replace_part("word/media/image1.png", b"\0" * (64 * 1024 * 1024))
    assert failure_of(bomb, "a.docx").code == "archive_bomb"


def test_a_docx_of_countless_parts_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
        for number in range(5_000):
            archive.writestr(f"p{number}", "")
    assert failure_of(out.getvalue(), "a.docx").code == "archive_bomb"


def test_an_archive_whose_directory_understates_its_parts_is_refused(replace_part: ReplacePart) -> None:
    data = bytearray(replace_part("word/document.xml", b"\0" * (64 * 1024 * 1024)))
    size = (64 * 1024 * 1024).to_bytes(4, "little")
    assert data.count(size) >= 1
    lying = bytes(data.replace(size, (1000).to_bytes(4, "little")))
    assert failure_of(lying, "a.docx").code in ("archive_bomb", "broken_docx")


def test_parts_that_are_small_alone_count_together() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(10):
            archive.writestr(f"p{number}", b"x" * 1000)
    with zipfile.ZipFile(out) as archive, pytest.raises(ArchiveBomb, match="unpacks"):
        check_archive(archive, len(out.getvalue()), ArchiveLimits(unpacked=9_999))


def test_entities_in_docx_are_not_expanded(replace_part: ReplacePart) -> None:
    bomb = (
        b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY a%d "%b">' % (n, b"&a%d;" % (n - 1) * 10 if n else b"&a;" * 10) for n in range(12))
        + b']><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        b"<w:body><w:p><w:r><w:t>&a11;</w:t></w:r></w:p></w:body></w:document>"
    )
    assert failure_of(replace_part("word/document.xml", bomb), "a.docx").code in ("broken_docx", "empty_text")


@pytest.mark.parametrize("content", [b"", b"not xml", b"<a/>"])
def test_a_docx_with_a_damaged_text_part_is_broken(replace_part: ReplacePart, content: bytes) -> None:
    assert failure_of(replace_part("word/document.xml", content), "a.docx").code in ("broken_docx", "empty_text")


def test_a_docx_cut_short_is_broken(make_docx: MakeDocx) -> None:
    assert failure_of(make_docx("text")[:2000], "a.docx").code == "broken_docx"


def test_a_title_is_cut_to_its_limit() -> None:
    title = parse(b"# " + b"t" * 600, "a.md").title
    assert title == "t" * 500
