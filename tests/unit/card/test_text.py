"""How a model card's keys and values read as text."""

from __future__ import annotations

from tests.cards import a_card
from worker.card.reading import read_card
from worker.card.text import label, recipe_text, rows_of, tables_of, title


def test_unknown_key_is_its_own_label() -> None:
    assert (label("recall"), label("half_life"), title("auc"), title("half_life")) == (
        "sensitivity", "half life", "AUC", "Half life",
    )  # fmt: skip


def test_rows_format_values_for_people() -> None:
    section = {
        "seeds": [17, 4242],
        "count": 4242,
        "range": [0.5, 1.5],
        "on": True,
        "in": {"it": 0.00012},
        "no": None,
    }
    assert rows_of(section, without=("count",)) == [
        ("seeds", "17, 4242"), ("range", "0.5 to 1.5"), ("on", "yes"), ("in it", "0.00012"),
    ]  # fmt: skip
    assert rows_of({"count": 4242}) == [("count", "4,242")]
    assert tables_of({"steps": [{"a": 1}, {"a": 2, "b": "x"}], "none": [], "list": [1]}) == {
        "steps": [["A", "B"], ["1", ""], ["2", "x"]]
    }


def test_recipe_is_written_as_the_same_toml() -> None:
    import tomllib

    recipe = a_card()["recipe"]
    assert tomllib.loads(recipe_text(read_card(a_card()))) == recipe


def test_recipe_with_any_values_is_valid_toml() -> None:
    import tomllib

    recipe = {"name": 'a\n\U0001f4a1 "b"', "none": None, "mixed": [1, None, "x, y"], "ends": [-1e-05, 2.0]}
    text = recipe_text(read_card({"recipe": recipe}))
    assert tomllib.loads(text) == {"name": recipe["name"], "mixed": [1, "x, y"], "ends": [-1e-05, 2.0]}
    assert "ends = [-1e-05, 2.0]" in text
