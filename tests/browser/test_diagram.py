"""The diagrams of the shipped networks, as a real browser draws them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from worker.config import ROOT

pytestmark = pytest.mark.browser

DIAGRAMS = sorted((ROOT / "models").glob("*/*.svg"))

# Each text that runs out of the picture, over a box's edge, or into another text on its line.
_FAULTS = """() => {
  const box = element => element.getBoundingClientRect();
  const texts = [...document.querySelectorAll('text')], boxes = [...document.querySelectorAll('rect')].slice(1);
  const over = (one, other) => one.left < other.right && other.left < one.right
    && one.top < other.bottom - 2 && other.top < one.bottom - 2;
  const page = box(document.documentElement);
  return texts.filter(text => {
    const place = box(text);
    const holder = boxes.map(box).find(one => over(one, place));
    return place.right > page.right || place.left < page.left || place.bottom > page.bottom
      || (holder && (place.right > holder.right - 4 || place.bottom > holder.bottom))
      || texts.some(other => other !== text && over(place, box(other)));
  }).map(text => text.textContent);
}"""
_SIZES = (
    "() => [...document.querySelectorAll('text')].map(text => parseFloat(getComputedStyle(text).fontSize))"
)


@pytest.mark.parametrize("path", DIAGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_text_has_its_place(browser: Browser, path: Path) -> None:
    page = browser.new_page(viewport={"width": 800, "height": 1000})
    page.goto(path.as_uri())
    assert page.evaluate("() => document.querySelectorAll('text').length") > 20
    assert page.evaluate(_FAULTS) == []
    assert min(page.evaluate(_SIZES)) >= 11
    page.close()
