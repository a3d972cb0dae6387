"""Maps of a film from a network that sees its lungs, and from one that sees all of it."""

from __future__ import annotations

import numpy as np
import pytest

from worker.inference.activation import FILM_MAP, FULL_SCALE, log_odds, over_film, picture

QUARTERS = np.array([[1.0, 2.0], [3.0, 4.0]])


def test_log_odds_compare_both_kinds_of_pneumonia_with_normal() -> None:
    places = np.array([[[0.0, 1.0, 2.0], [5.0, -50.0, 5.0]]])
    assert log_odds(places).tolist() == [[pytest.approx(np.log(np.exp(1) + np.exp(2))), pytest.approx(0.0)]]


def test_part_of_the_film_lies_where_it_was_cut_out() -> None:
    whole = over_film(QUARTERS, (0.25, 0.5, 0.75, 1.0), None)
    assert whole.shape == (FILM_MAP, FILM_MAP)
    expected = np.zeros((FILM_MAP, FILM_MAP))
    expected[8:, 4:12] = QUARTERS.repeat(4, axis=0).repeat(4, axis=1)
    assert np.array_equal(whole, expected)


def test_film_counts_half_everywhere_and_its_part_half_inside() -> None:
    of_film = np.arange(16.0).reshape(4, 4)
    both = over_film(QUARTERS, (0.0, 0.0, 0.5, 0.5), of_film)
    expected = of_film.repeat(4, axis=0).repeat(4, axis=1)
    expected[:8, :8] += QUARTERS.repeat(4, axis=0).repeat(4, axis=1)
    assert np.array_equal(both, expected / 2)


def test_part_that_is_narrower_than_a_cell_and_one_beyond_the_film_leave_no_trace() -> None:
    assert not over_film(QUARTERS, (0.47, 0.0, 0.5, 1.0), None)[:, :7].any()
    assert over_film(QUARTERS, (0.0, 0.0, 1.0, 1.0), None)[[0, -1]][:, [0, -1]].tolist() == QUARTERS.tolist()


def test_map_has_one_scale_for_all_images() -> None:
    odds = np.array([-3.0, 0.0, FULL_SCALE / 4, FULL_SCALE / 2, FULL_SCALE, 2 * FULL_SCALE])
    assert picture(odds).tolist() == [0, 0, 64, 128, 255, 255]
