"""training.html: one self-contained file that shows its content as text."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from training.html.blocks import (
    Block,
    Folded,
    Grid,
    KeyFigures,
    Panel,
    Panels,
    Picture,
    Prose,
    Section,
    Statements,
    Table,
)
from training.html.page import RESEARCH_ONLY, page
from training.html.pictures import figure, style, thumbnail

WICKED = "<script>alert(\"1\")</script> & 'x'"
ESCAPED = "&lt;script&gt;"


def grey(height: int = 60, width: int = 80) -> np.ndarray:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


@style()
def plot(alt: str = "a line") -> Picture:
    drawn = Figure(figsize=(3, 2))
    drawn.subplots().plot([1, 3, 2], label="a")
    return figure(drawn, alt, caption="what it shows")


def every_kind(text: str) -> list[Section]:
    """Return a report that has this text in every place for text."""
    small = thumbnail(grey(), text, caption=text)
    blocks: list[Block] = [
        Prose(text),
        Statements([text]),
        Statements([text], "alarm"),
        KeyFigures([(text, text)]),
        Table([text], [[text]], text),
        Picture(small.uri, text, 10, 10, text),
        Grid([small], text),
        Panels([Panel([small], text, [text], "alarm")]),
    ]
    return [Section(text, [*blocks, Folded(text, blocks)])]


class Links(HTMLParser):
    """Collects everything that a page would load or link to, and its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.targets += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]


def test_report_escapes_all_text() -> None:
    text = page(WICKED, WICKED, every_kind(WICKED), WICKED)
    assert "script" not in Links(text).elements
    assert "<script" not in text
    places = page("x", "x", every_kind("x")).count("x</") + 1
    assert text.count(ESCAPED) >= places


def test_report_loads_nothing_from_a_network() -> None:
    text = page("t", "s", [*every_kind("x"), Section("Plot", [plot()])])
    links = Links(text)
    assert links.targets
    assert all(target.startswith(("data:image/", "#")) for target in links.targets)
    assert {"link", "iframe", "script", "object"}.isdisjoint(links.elements)
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text


def test_every_page_states_its_purpose() -> None:
    text = page(
        "Title", "Subtitle", [Section("One", [])], "Keep it.", made=datetime(2031, 2, 3, 4, 5, tzinfo=UTC)
    )
    assert RESEARCH_ONLY == "For research and education only. Never a diagnosis."
    assert text.index(RESEARCH_ONLY) < text.index("Keep it.") < text.index('<section id="one"')
    assert "2031-02-03 04:05 UTC" in text
    assert "<title>Title</title>" in text


def test_contents_link_to_each_section() -> None:
    text = page("t", "s", [Section("What to know first", []), Section("Age, sex & view", [])])
    for anchor in ("what-to-know-first", "age-sex-view"):
        assert f'href="#{anchor}"' in text
        assert f'id="{anchor}"' in text


def test_numbers_are_formatted_and_aligned_right() -> None:
    table = Table(
        ("file", "n", "share", "auc", "size"),
        [("00012_001.jpg", 5216, None, 0.98765, "12 %"), ("b.jpg", 7, 0.5, "0.958 [0.951, 0.965]", "3 %")],
    )
    assert table.written()[0] == ["00012_001.jpg", "5,216", "\u2013", "0.988", "12 %"]
    assert table.is_numeric() == [False, True, True, True, True]
    assert Table(("a", "b"), []).is_numeric() == [False, False]


def test_picture_needs_a_data_uri() -> None:
    with pytest.raises(ValueError, match="data URI"):
        Picture("https://example.org/x.png", "x", 1, 1)


def test_thumbnail_keeps_pixels_and_shape() -> None:
    small = thumbnail(grey(60, 80), "a slope", width=160, quality=95)
    with Image.open(io.BytesIO(base64.b64decode(small.uri.split(",")[1]))) as image:
        assert np.abs(np.asarray(image).astype(int) - grey(60, 80)).max() < 8
    assert (small.width, small.height) == (160, 120)


def test_plot_is_reproducible_and_self_contained() -> None:
    assert plot().uri == plot().uri
    drawn = base64.b64decode(plot().uri.split(",")[1])
    assert ET.fromstring(drawn).tag.endswith("svg")  # noqa: S314 - drawn here
    assert (plot().width, plot().height) == (288, 192)


def test_report_accepts_a_name_that_is_not_text() -> None:
    assert "bad ?.jpg" in page("t", "s", [Section("x", [Prose("bad \udcff.jpg")])])


def test_long_names_break_only_after_separators() -> None:
    named = thumbnail(grey(), "x", caption="person1_virus-<b>.jpeg")
    assert "person1_<wbr>virus-<wbr>&lt;b&gt;.jpeg" in page("t", "s", [Section("x", [Grid([named])])])
