from __future__ import annotations

import random

import pytest

from worker.ledger.leases import PendingImage
from worker.ledger.states import Lane
from worker.queue.dispatch import plan_chunks

URGENT, OVERNIGHT = Lane.URGENT, Lane.OVERNIGHT


def test_the_urgent_lane_comes_first_and_lanes_never_mix() -> None:
    images = [PendingImage(n, OVERNIGHT if n % 2 else URGENT, 0) for n in range(8)]
    assert list(plan_chunks(images, 3)) == [
        (URGENT, [0, 2, 4]),
        (URGENT, [6]),
        (OVERNIGHT, [1, 3, 5]),
        (OVERNIGHT, [7]),
    ]


@pytest.mark.parametrize(
    ("attempts", "chunk_size", "sizes"),
    [
        (0, 32, [32, 8]),
        (1, 32, [4] * 10),
        (2, 32, [1] * 40),
        (3, 32, [1] * 40),
        (1, 8, [1] * 40),
        (1, 3, [1] * 40),
        (0, 1, [1] * 40),
    ],
)
def test_each_failure_makes_the_chunks_smaller(attempts: int, chunk_size: int, sizes: list[int]) -> None:
    images = [PendingImage(n, OVERNIGHT, attempts) for n in range(40)]
    assert [len(ids) for _, ids in plan_chunks(images, chunk_size)] == sizes


def test_no_images_make_no_chunks() -> None:
    assert list(plan_chunks([], 32)) == []


def test_every_image_is_in_exactly_one_chunk() -> None:
    chance = random.Random(0)
    images = [PendingImage(n, chance.choice(list(Lane)), chance.randrange(4)) for n in range(300)]
    by_id = {image.id: image for image in images}
    chunks = list(plan_chunks(images, 16))
    assert sorted(i for _, ids in chunks for i in ids) == list(range(300))
    for lane, ids in chunks:
        assert {by_id[i].lane for i in ids} == {lane}
        assert len({by_id[i].attempts for i in ids}) == 1


@pytest.mark.parametrize("deadly", [{7}, {0, 31}, {8, 9, 10, 11}, set(range(32))])
def test_splitting_isolates_deadly_images_within_three_attempts(deadly: set[int]) -> None:
    """A deadly image makes its chunk fail; the other images of the chunk are scored in the end."""
    waiting = dict.fromkeys(range(32), 0)
    scored: set[int] = set()
    quarantined: set[int] = set()
    while waiting:
        images = [PendingImage(n, OVERNIGHT, attempts) for n, attempts in waiting.items()]
        for _, ids in plan_chunks(images, 32):
            for image_id in ids:
                attempts = waiting.pop(image_id) + 1
                if not deadly & set(ids):
                    scored.add(image_id)
                elif attempts < 3:
                    waiting[image_id] = attempts
                else:
                    quarantined.add(image_id)
    assert quarantined == deadly
    assert scored == set(range(32)) - deadly
