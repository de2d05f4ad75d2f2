"""A parser that stops in the middle: the text is a folder with the pipes `entered` and `leave`.

Extraction children load it with `ExtractionPool(setup=("tests.integration.knowledge.gated_parser:register",))`.
"""

from __future__ import annotations

from pathlib import Path

from datalane.knowledge.parsing import Extraction, register_parser


def register() -> None:
    register_parser("text/plain", (".txt",), lambda: (parse, "gated/1"))


def parse(data: bytes) -> Extraction:
    folder = Path(data.decode())
    (folder / "entered").write_text("in the parser")  # waits for its reader
    return Extraction((folder / "leave").read_text())  # waits for its writer
