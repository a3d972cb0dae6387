"""The robustness table as text for a terminal, and as Markdown for a document. Changes are in points of a hundred."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from training.robustness.table import CLASSES

Json = dict[str, Any]

_MEANING = (
    "Points: the change of the images that are scored in both. Unmarked: the same of all images, where a rejected or "
    "marked one counts as no change. Brackets: 95 % intervals. Clear: images with pneumonia that became clear."
)


def as_text(document: Json) -> str:
    """Return the document of `nightread robustness --json` as text."""
    cells = document["cells"]
    width = max(len(cell["name"]) for cell in cells)
    header = (
        f"{'':{width}}  {'sensitivity':>20}  {'specificity':>20}  {'unmarked':>12}  rejected  marked   clear"
    )
    lines = [
        *_head(document),
        "",
        header,
        *(f"{cell['name']:{width}}  {_line(cell)}" for cell in cells),
        "",
        *_verdicts(document),
        _MEANING,
    ]
    return "\n".join(lines)


def as_markdown(document: Json) -> str:
    """Return the head, a table with one row a series and a table with one row a cell."""
    return "\n".join(
        [
            " ".join([*_head(document), *_verdicts(document)]),
            "",
            *_series_table(document["cells"]),
            "",
            *_cell_table(document["cells"]),
        ]
    )


def points(value: float | None) -> str:
    """Return a change in points, for instance `-2.2`."""
    return "-" if value is None else f"{100 * value:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")


def _head(document: Json) -> list[str]:
    model, point = document["model"], document["operating_point"]
    rejected = document["rejected_untouched"]
    listed = ", ".join(f"{image['file']}: {image['reason']}" for image in rejected)
    figures = ", ".join(f"{name} {document[name]:.3f}" for name in CLASSES if document[name] is not None)
    images = (
        f"{document['n']} images of {document['patients']} patients, {document['pneumonia']} with pneumonia"
    )
    seen = f"{figures}, {document['marked_untouched']} marked, {len(rejected)} rejected"
    named = f"{model['name']} {model['version']}, sha256 {model['sha256'][:12]}"
    return [
        f"{named}, at {point['name']} ({point['threshold']:.3f}).",
        f"{images}; untouched: {seen}{f' ({listed})' if listed else ''}.",
    ]


def _verdicts(document: Json) -> list[str]:
    worse, cells = document["worse_without_mark"], len(document["cells"])
    named = f": {'; '.join(worse)}" if worse else ""
    limit = f"{100 * document['limit']:g} points"
    return [
        f"Worse by more than {limit} without a mark: {len(worse)} of {cells} cells{named}.",
        *(f"Not caught in every image: {name}." for name in document["not_caught"]),
    ]


def _line(cell: Json) -> str:
    changes = "  ".join(f"{_with_interval(cell, f'{name}_change'):>20}" for name in CLASSES)
    unmarked = " / ".join(points(cell[f"unmarked_{name}_change"]) for name in CLASSES)
    clear = f"{cell['became_clear']['count']}/{cell['became_clear']['of']}"
    mark = "  worse" if cell["worse_without_mark"] else ""
    return f"{changes}  {unmarked:>12}  {_percent(cell['rejected']):>8}  {_percent(cell['marked']):>6}  {clear:>6}{mark}"


def _with_interval(cell: Json, key: str) -> str:
    if cell[key] is None:
        return "-"
    low, high = cell[f"{key}_ci"]
    return f"{points(cell[key])} [{points(low)}, {points(high)}]"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _cell_table(cells: Sequence[Json]) -> Iterator[str]:
    yield "| change | sensitivity | specificity | unmarked | rejected | marked | became clear |"
    yield "|---|---|---|---|---|---|---|"
    for cell in cells:
        name = f"**{cell['name']}**" if cell["worse_without_mark"] else cell["name"]
        unmarked = " / ".join(points(cell[f"unmarked_{name}_change"]) for name in CLASSES)
        clear = f"{cell['became_clear']['count']} of {cell['became_clear']['of']}"
        changes = (_with_interval(cell, f"{name}_change") for name in CLASSES)
        shares = (_percent(cell["rejected"]), _percent(cell["marked"]))
        yield f"| {' | '.join([name, *changes, unmarked, *shares, clear])} |"


def _series_table(cells: Sequence[Json]) -> Iterator[str]:
    yield "| change | amounts | sensitivity, worst | specificity, worst | unmarked, worst | rejected | marked | became clear |"
    yield "|---|---|---|---|---|---|---|---|"
    for series, members in groupby(cells, key=lambda cell: cell["series"]):
        group = list(members)
        worst = (_worst(group, f"{name}_change") for name in CLASSES)
        unmarked = " / ".join(_least(group, f"unmarked_{name}_change") for name in CLASSES)
        name = f"**{series}**" if any(cell["worse_without_mark"] for cell in group) else series
        clear = max(group, key=lambda cell: cell["became_clear"]["count"])["became_clear"]
        shares = (_span([cell[key] for cell in group]) for key in ("rejected", "marked"))
        row = [name, _amounts(group), *worst, unmarked, *shares, f"{clear['count']} of {clear['of']}"]
        yield f"| {' | '.join(row)} |"


def _worst(group: Sequence[Json], key: str) -> str:
    defined = [cell for cell in group if cell[key] is not None]
    if not defined:
        return "-"
    worst = min(defined, key=lambda cell: cell[key])
    at = f" at {worst['amount']:g}{worst['unit']}" if len(group) > 1 and worst[key] < 0 else ""
    return f"{_with_interval(worst, key)}{at}"


def _least(group: Sequence[Json], key: str) -> str:
    return points(min((cell[key] for cell in group if cell[key] is not None), default=None))


def _amounts(group: Sequence[Json]) -> str:
    amounts = [cell["amount"] for cell in group]
    return "" if amounts[0] is None else f"{min(amounts):g} to {max(amounts):g}{group[0]['unit']}"


def _span(shares: Sequence[float]) -> str:
    low, high = _percent(min(shares)), _percent(max(shares))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"
