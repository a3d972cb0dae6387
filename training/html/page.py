"""HTML reports for people: one file that contains its pictures and loads nothing from a network.

A report is a list of sections, and a section a list of blocks (`training.html.blocks`). All text is escaped on
output, because file names and labels can contain anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from training.html.blocks import Section

RESEARCH_ONLY = "For research and education only. Never a diagnosis."


def page(
    title: str, subtitle: str, sections: Sequence[Section], notice: str = "", *, made: datetime | None = None
) -> str:
    """Return a self-contained HTML document.

    Args:
        title: subject of the report.
        subtitle: what it was made from.
        sections: the most important first.
        notice: what a reader must know first, shown below the line that every page has.
        made: time of creation; None: now. Printed in UTC.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    text = environment.get_template("report.html").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        notice=notice,
        research_only=RESEARCH_ONLY,
        made=(made or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    # A file's name may hold bytes that are not text.
    return text.encode("utf-8", "replace").decode("utf-8")


def _breakable(text: str) -> Markup:
    """Return a file name that can break after its separators."""
    parts = re.split(r"(?<=[_/-])", text)
    return Markup("<wbr>").join(parts)
