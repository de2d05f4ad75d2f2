"""The headings above each place of a document, whatever its format."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise

import docx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.knowledge.headings import MOST_CHARACTERS, MOST_HEADINGS, Heading, locate, paths, tidy
from datalane.knowledge.parsing import parse

MARKDOWN = """\
Before any heading.

# Guide

How to begin.

## Install ##

Take the wheel.

```
# a comment
```

Run it
------

Then wait.

# Reference

| a | b |
|---|---|
- item
---
Nothing else.
"""


def above(text: str, headings: tuple[Heading, ...], words: str) -> str | None:
    """The headings above these words of the text."""
    return paths(text, headings, [text.index(words)])[0]


def test_markdown_has_the_headings_of_both_styles_and_none_of_its_code() -> None:
    parsed = parse(MARKDOWN.encode(), "guide.md")
    assert [(level, title) for _, level, title in parsed.headings] == [
        (1, "Guide"),
        (2, "Install"),
        (2, "Run it"),
        (1, "Reference"),
    ]
    for start, _, title in parsed.headings:
        assert parsed.text[start:].lstrip("# ").startswith(title)
    assert above(parsed.text, parsed.headings, "Before any") is None
    assert above(parsed.text, parsed.headings, "How to begin") == "Guide"
    assert above(parsed.text, parsed.headings, "Take the wheel") == "Guide › Install"
    assert above(parsed.text, parsed.headings, "Then wait") == "Guide › Run it"
    assert above(parsed.text, parsed.headings, "Nothing else") == "Reference"


NONE = [
    *("#hashtag", "    # code", "#\n", "a\n\n---\n", "- item\n---\n", "> quote\n---\n", "---\na: b\n"),
    "~~~\n# x\n```\n# y\n~~~\n",
]


@pytest.mark.parametrize("text", NONE)
def test_what_looks_like_a_heading_of_markdown_and_is_none(text: str) -> None:
    assert parse(text.encode(), "a.md").headings == ()


def test_html_has_the_headings_that_are_in_its_text_in_their_order() -> None:
    page = (
        "<html><head><title>Birds</title></head><body><nav><h2>Menu</h2></nav><main><article>"
        "<h1>Waders</h1><p>They stand in the reeds for a long time and look at the water.</p>"
        "<h2>The <em>grey</em>\n heron</h2><p>It stands still until a fish comes by, and then it does not.</p>"
        "<h2>The crane</h2><p>It dances in spring, in pairs, and is heard from far away by everybody.</p>"
        "</article></main></body></html>"
    )
    parsed = parse(page.encode(), "birds.html")
    assert above(parsed.text, parsed.headings, "They stand") == "Waders"
    assert above(parsed.text, parsed.headings, "It stands still") == "Waders › The grey heron"
    assert above(parsed.text, parsed.headings, "It dances") == "Waders › The crane"


def test_word_has_the_headings_of_its_styles() -> None:
    document, out = docx.Document(), io.BytesIO()
    document.add_paragraph("The same words")
    document.add_heading("Report", 1)
    document.add_heading("The same words", 2)
    document.add_paragraph("What was seen.")
    document.save(out)
    parsed = parse(out.getvalue(), "report.docx")
    assert above(parsed.text, parsed.headings, "What was seen") == "Report › The same words"


def test_styles_of_word_that_cannot_be_read_cost_the_headings_only(
    replace_part: Callable[[str, bytes], bytes],
) -> None:
    namespace = b"http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    styles = b'<w:styles xmlns:w="%b"><w:style w:type="odd" w:styleId="a"/></w:styles>' % namespace
    parsed = parse(replace_part("word/styles.xml", styles), "report.docx")
    assert (parsed.text, parsed.headings) == ("text", ())


def test_plain_text_has_none() -> None:
    assert parse(b"# not a heading here", "a.txt").headings == ()


def test_a_heading_behind_the_blanks_that_a_chunk_begins_with_is_its_own() -> None:
    text = "words\n\n# Next\n\nmore"
    [heading] = parse(text.encode(), "a.md").headings
    assert paths(text, (heading,), [5, 7]) == ["Next", "Next"]


def test_a_heading_of_a_menu_that_comes_again_at_the_end_hides_none_between() -> None:
    text = "Intro\nwords\nSetup\nwords\nContact\nwords"
    titles = [(2, "Contact"), (1, "Intro"), (1, "Setup"), (2, "Missing"), (1, "Contact")]
    assert [(start, title) for start, _, title in locate(text, titles)] == [
        (0, "Intro"),
        (12, "Setup"),
        (24, "Contact"),
    ]


def test_many_lines_that_are_alike_cost_little_and_so_do_blanks() -> None:
    alike = [(1, "A")] * 5_000 + [(2, "B")] * 5_000
    assert len(locate("A\nA\nB\nB\n" * 5_000, alike)) == 52
    text = " " * 400_000 + "x"
    assert paths(text, (Heading(0, 1, "A"),), range(300_000)) == ["A"] * 300_000


def test_countless_and_endless_headings_are_cut() -> None:
    found = tidy((number, 1, "x" * 1_000) for number in range(MOST_HEADINGS + 5))
    assert len(found) == MOST_HEADINGS
    assert {len(one.title) for one in found} == {MOST_CHARACTERS}


levels = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9)), max_size=30)


@given(levels, st.lists(st.integers(0, 300), max_size=20).map(sorted))
def test_what_stands_above_a_place_is_what_a_reader_would_say(said: list[tuple[int, int]], starts: list[int]) -> None:
    headings, place = list[Heading](), 0
    for level, gap in said:
        place += gap
        headings.append(Heading(place, level, f"h{len(headings)}"))
    for start, path in zip(starts, paths("x" * 400, headings, starts), strict=True):
        chain = [] if path is None else [headings[int(title[1:])] for title in path.split(" › ")]
        before = [one for one in headings if one.start <= start]
        assert bool(chain) == bool(before)
        if before:
            assert chain[-1] == before[-1]
        assert all(higher.level < lower.level for higher, lower in pairwise(chain))
        for higher, lower in pairwise(chain):
            between = before[before.index(higher) + 1 : before.index(lower)]
            assert all(one.level >= lower.level for one in between)
