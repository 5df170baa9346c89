"""An export in Markdown gives back what went in, whatever a text looks like."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.catalogue import export_markdown

LINES = st.lists(
    st.sampled_from(
        [
            "---",
            "# Heading",
            "",
            " ",
            "<!-- engram:memory -->",
            "<!-- engram:end -->",
            "\\<!-- engram:end -->",
            "id: 1",
            "```",
            "\r",
        ]
    )
    | st.text(max_size=12),
    max_size=8,
).map("\n".join)
HEAD = {"version": "1.0", "memory_count": 1}
SIZE = 1 << 20


def read(file: bytes) -> list[tuple[str, dict[str, Any]]]:
    return [(kind, msgspec.json.decode(text)) for kind, text in export_markdown.sections(file, size_max=SIZE)]


@given(st.lists(st.tuples(st.sampled_from(["memory", "version"]), LINES), max_size=4))
@example([("memory", "---\nid: 2\n---\n\n<!-- engram:link -->"), ("version", "\n\n")])
def test_any_text_survives(texts: list[tuple[Any, str]]) -> None:
    records = [
        (kind, {"id": number, "tags": ["a", "ß"], "metadata": {"k": [1, None, "---\n"]}, "content": text})
        for number, (kind, text) in enumerate(texts)
    ]
    sections = [export_markdown.section(kind, fields) for kind, fields in records]
    file = export_markdown.head(HEAD) + b"".join(sections) + export_markdown.END

    assert read(file) == records
    assert msgspec.json.decode(export_markdown.head_of(file)) == HEAD


def test_a_text_stands_there_as_it_is() -> None:
    section = export_markdown.section("memory", {"id": 7, "memory_type": "note", "content": "# Cats\n\n---\n\nThey sleep."})

    assert section.decode() == (
        '<!-- engram:memory -->\n---\nid: 7\nmemory_type: "note"\n---\n\n# Cats\n\n---\n\nThey sleep.\n\n'
    )


def test_a_link_has_no_text() -> None:
    fields = {"from_id": 1, "to_id": 2, "edge_type": "blocks"}
    file = export_markdown.section("link", fields) + export_markdown.END

    assert read(file) == [("link", fields)]


def test_line_ends_of_windows_are_read() -> None:
    file = (export_markdown.section("memory", {"id": 1, "content": "one line"}) + export_markdown.END).replace(b"\n", b"\r\n")
    ((_, fields),) = read(file)

    assert (fields["id"], fields["content"].strip()) == (1, "one line")


@pytest.mark.parametrize("length", range(0, 90, 7))
def test_a_file_that_was_cut_off_is_refused(length: int) -> None:
    file = (
        export_markdown.section("memory", {"id": 1, "content": "a text that is rather long for what it says"})
        + export_markdown.END
    )
    with pytest.raises(export_markdown.NotMarkdown):
        read(file[:length])


def test_a_section_over_the_limit_is_refused() -> None:
    file = export_markdown.section("memory", {"id": 1, "content": "x" * 100}) + export_markdown.END
    with pytest.raises(export_markdown.NotMarkdown, match="memory 0"):
        list(export_markdown.sections(file, size_max=50))
