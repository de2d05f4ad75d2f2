"""Documents made by small code: no binary fixtures."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
import pypdf
import pytest

PdfMaker = Callable[..., bytes]


def build_pdf(objects: list[bytes]) -> bytes:
    """A PDF of numbered objects (the first is the catalog) with a correct cross-reference table."""
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def stream(dictionary: bytes, data: bytes) -> bytes:
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (dictionary, len(data), data)


@pytest.fixture
def make_pdf() -> PdfMaker:
    def make(*pages: str) -> bytes:
        """A PDF with one line of text per page."""
        first = 4
        kids = b" ".join(b"%d 0 R" % (first + 2 * index) for index in range(len(pages)))
        objects = [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, len(pages)),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        ]
        for index, text in enumerate(pages):
            objects.append(
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
                b"/Resources << /Font << /F1 3 0 R >> >> >>" % (first + 2 * index + 1)
            )
            objects.append(stream(b"", b"BT /F1 12 Tf 72 720 Td (%b) Tj ET" % text.encode("latin-1")))
        return build_pdf(objects)

    return make


@pytest.fixture
def make_encrypted_pdf(make_pdf: PdfMaker) -> Callable[[str, str], bytes]:
    def make(user_password: str, algorithm: str) -> bytes:
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(make_pdf("a guarded page")))
        writer.encrypt(user_password, "owner", algorithm=algorithm)
        out = io.BytesIO()
        writer.write(out)
        return out.getvalue()

    return make


@pytest.fixture
def image_only_pdf() -> bytes:
    image = b"/Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8"
    return build_pdf([
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /XObject << /Im0 5 0 R >> >> >>",
        stream(b"", b"q 612 0 0 792 0 0 cm /Im0 Do Q"),
        stream(image, b"\x80"),
    ])  # fmt: skip


@pytest.fixture
def make_docx() -> Callable[..., bytes]:
    def make(*paragraphs: str, title: str = "", table: list[list[str]] | None = None) -> bytes:
        document = docx.Document()
        document.core_properties.title = title
        for paragraph in paragraphs:
            document.add_paragraph(paragraph)
        if table:
            grid = document.add_table(rows=len(table), cols=len(table[0]))
            for row, values in zip(grid.rows, table, strict=True):
                for cell, value in zip(row.cells, values, strict=True):
                    cell.text = value
        out = io.BytesIO()
        document.save(out)
        return out.getvalue()

    return make


@pytest.fixture
def replace_part(make_docx: Callable[..., bytes]) -> Callable[[str, bytes], bytes]:
    def replace(name: str, content: bytes) -> bytes:
        """A Word document whose part `name` holds `content`."""
        out = io.BytesIO()
        with (
            zipfile.ZipFile(io.BytesIO(make_docx("text"))) as original,
            zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as changed,
        ):
            for entry in original.namelist():
                if entry != name:
                    changed.writestr(entry, original.read(entry))
            changed.writestr(name, content)
        return out.getvalue()

    return replace


@pytest.fixture
def hostile_parsers(monkeypatch: pytest.MonkeyPatch) -> str:
    """Import path of the setup function that registers parsers which misbehave."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return "hostile_parsers:register"
