"""training.html.page: one file that shows what it was given, as text, and asks nothing of anybody."""

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
    """A report in which every place that takes text has this one."""
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
    """Everything that a page would fetch or lead to, and its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.targets += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action"}]


def test_what_it_is_given_is_text_and_never_markup() -> None:
    text = page(WICKED, WICKED, every_kind(WICKED), WICKED)
    assert "script" not in Links(text).elements
    assert "<script" not in text
    places = page("x", "x", every_kind("x")).count("x</") + 1
    assert text.count(ESCAPED) >= places


def test_it_asks_nothing_of_any_network() -> None:
    text = page("t", "s", [*every_kind("x"), Section("Plot", [plot()])])
    links = Links(text)
    assert links.targets
    assert all(target.startswith(("data:image/", "#")) for target in links.targets)
    assert {"link", "iframe", "script", "object"}.isdisjoint(links.elements)
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text


def test_every_page_says_what_it_is_for() -> None:
    text = page(
        "Title", "Subtitle", [Section("One", [])], "Keep it.", made=datetime(2031, 2, 3, 4, 5, tzinfo=UTC)
    )
    assert RESEARCH_ONLY == "For research and education only. Never a diagnosis."
    assert text.index(RESEARCH_ONLY) < text.index("Keep it.") < text.index('<section id="one"')
    assert "2031-02-03 04:05 UTC" in text
    assert "<title>Title</title>" in text


def test_a_link_leads_to_each_section() -> None:
    text = page("t", "s", [Section("What to know first", []), Section("Age, sex & view", [])])
    for anchor in ("what-to-know-first", "age-sex-view"):
        assert f'href="#{anchor}"' in text
        assert f'id="{anchor}"' in text


def test_numbers_are_written_to_be_read_and_stand_flush_right() -> None:
    table = Table(
        ("file", "n", "share", "auc", "size"),
        [("00012_001.jpg", 5216, None, 0.98765, "12 %"), ("b.jpg", 7, 0.5, "0.958 [0.951, 0.965]", "3 %")],
    )
    assert table.written()[0] == ["00012_001.jpg", "5,216", "\u2013", "0.988", "12 %"]
    assert table.is_numeric() == [False, True, True, True, True]
    assert Table(("a", "b"), []).is_numeric() == [False, False]


def test_a_picture_from_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="data URI"):
        Picture("https://example.org/x.png", "x", 1, 1)


def test_a_thumbnail_keeps_its_pixels_and_its_shape() -> None:
    small = thumbnail(grey(60, 80), "a slope", width=160, quality=95)
    with Image.open(io.BytesIO(base64.b64decode(small.uri.split(",")[1]))) as image:
        assert np.abs(np.asarray(image).astype(int) - grey(60, 80)).max() < 8
    assert (small.width, small.height) == (160, 120)


def test_a_plot_is_the_same_bytes_each_time_and_names_no_resource() -> None:
    assert plot().uri == plot().uri
    drawn = base64.b64decode(plot().uri.split(",")[1])
    assert ET.fromstring(drawn).tag.endswith("svg")  # noqa: S314 - drawn here
    assert (plot().width, plot().height) == (288, 192)


def test_a_name_that_is_no_text_does_not_stop_a_report() -> None:
    assert "bad ?.jpg" in page("t", "s", [Section("x", [Prose("bad \udcff.jpg")])])


def test_long_names_may_be_broken_only_after_a_separator() -> None:
    named = thumbnail(grey(), "x", caption="person1_virus-<b>.jpeg")
    assert "person1_<wbr>virus-<wbr>&lt;b&gt;.jpeg" in page("t", "s", [Section("x", [Grid([named])])])
