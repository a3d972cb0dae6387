"""A film on a page is rejected with a sentence; an older prediction of one can still be replayed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sqlalchemy import select

from tests.conftest import make_settings
from tests.files import encoded
from tests.filling import assert_consistent, image
from worker import screening
from worker.commands.replay import replay_image
from worker.commands.screen_files import screen_files
from worker.config import Settings
from worker.errors import REJECTIONS
from worker.inference.admission import admit
from worker.inference.gate import open_gate
from worker.inference.preprocess import to_model_input
from worker.intake.accept import Acceptor
from worker.intake.source import Candidate
from worker.ledger.session import Ledger
from worker.ledger.states import Lane, Source
from worker.ledger.tables import Prediction
from worker.phantom import draw_phantom
from worker.screening import Scorer, Screener, open_scorer
from worker.store import open_store


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return open_scorer(Settings())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write a film, and the same film on white, on two sides of grey paper and on a black plate."""
    folder = tmp_path_factory.mktemp("films")
    film = draw_phantom(3, width=500)
    pictures: dict[str, Image.Image] = {
        "film": film,
        "white": ImageOps.expand(film, 100, 255),
        "paper": ImageOps.expand(film, (90, 0, 90, 0), 190),
        "black": ImageOps.expand(film, 30, 0),
    }
    for name, picture in pictures.items():
        (folder / f"{name}.jpg").write_bytes(encoded(picture, "JPEG", quality=92))
    return [folder / f"{name}.jpg" for name in pictures]


def accept(settings: Settings, ledger: Ledger, folder: Path, files: list[Path]) -> list[int]:
    """Accept copies of the files, for the acceptor removes what it accepts."""
    copies = [Path(shutil.copy(path, folder)) for path in files]
    taken = Acceptor(settings, ledger, open_store(settings)).accept(
        [Candidate(path, path.name) for path in copies], source=Source.IMPORT, lane=Lane.OVERNIGHT
    )
    return [row.image_id for row in taken]


def test_film_on_a_page_is_rejected_with_its_sentence(
    tmp_path: Path, ledger: Ledger, scorer: Scorer, files: list[Path]
) -> None:
    settings = make_settings(tmp_path / "data")
    ids = accept(settings, ledger, tmp_path, files)
    assert Screener(settings, ledger, open_store(settings), scorer).screen(ids) == len(ids)
    found = [image(ledger, number) for number in ids]
    assert [row.state for row in found] == ["scored", "rejected", "rejected", "scored"]
    for row in found[1:3]:
        assert (row.reason_code, row.reason) == ("on_a_page", REJECTIONS["on_a_page"])
    with ledger.reading() as session:
        assert list(session.scalars(select(Prediction.image_id))) == [ids[0], ids[3]]
    assert assert_consistent(ledger).rejected == 2


def test_screen_command_gives_the_sentence_and_no_verdict(files: list[Path]) -> None:
    documents = screen_files(Settings(), files)
    assert [row["outcome"] for row in documents] == ["scored", "rejected", "rejected", "scored"]
    assert documents[1]["reason"] == REJECTIONS["on_a_page"]
    assert documents[1]["verdict"] is None


def test_older_prediction_of_a_film_on_a_page_is_replayed(
    tmp_path: Path, ledger: Ledger, scorer: Scorer, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path / "data")
    (number,) = accept(settings, ledger, tmp_path, files[1:2])
    with monkeypatch.context() as before_the_check:
        before_the_check.setattr(screening, "admit", lambda data, side, _: to_model_input(data, side))
        assert Screener(settings, ledger, open_store(settings), scorer).screen([number]) == 1
    assert image(ledger, number).state == "scored"
    comparison = replay_image(settings, ledger, number)
    assert comparison["same"] is True
    assert comparison["computed"] == comparison["recorded"]


def test_admitted_files_have_the_model_input_of_training(scorer: Scorer, xrays: list[Path]) -> None:
    bundle = scorer.bundle
    gate = open_gate(bundle.folder, bundle.card)
    for path in xrays[::4]:
        data = path.read_bytes()
        assert np.array_equal(admit(data, bundle.side, gate), to_model_input(data, bundle.side))
