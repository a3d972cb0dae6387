"""Reports that people read: one HTML file, with its pictures in it, that asks nothing of any network.

A report is a list of sections, a section a list of blocks. All text is escaped where it is
written out; file names and labels may hold anything.
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
    """A whole HTML document, self-contained.

    Args:
        title: what the report is about.
        subtitle: what it was made from.
        sections: in the order of their importance.
        notice: what a reader must know before reading, below the line that every page carries.
        made: when; None: now. Printed in UTC.
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
    # A file's name may hold bytes that are no text.
    return text.encode("utf-8", "replace").decode("utf-8")


def _breakable(text: str) -> Markup:
    """Names of files may be broken after their separators, and nowhere else if that will do."""
    parts = re.split(r"(?<=[_/-])", text)
    return Markup("<wbr>").join(parts)
