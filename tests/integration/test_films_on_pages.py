"""A film is cut out of its margin, recorded and replayed; an older prediction of the whole picture is, too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sqlalchemy import select, update

from tests.bundles import WHOLE_FILMS, with_distance
from tests.conftest import make_settings
from tests.files import encoded
from tests.filling import assert_consistent, image
from worker.commands.replay import as_text, replay_image
from worker.commands.screen_files import screen_files
from worker.config import Settings
from worker.errors import REJECTIONS, RejectedImage
from worker.imagefile.limits import limits_of
from worker.inference.admission import Admission
from worker.inference.bundle import load_bundle
from worker.inference.preprocess import WHOLE_PICTURE, to_model_input
from worker.intake.accept import Acceptor
from worker.intake.source import Candidate
from worker.ledger.session import Ledger
from worker.ledger.states import Lane, Source
from worker.ledger.tables import AuditEvent, Model, Prediction
from worker.ledger.trail_facts import CROP
from worker.phantom import draw_phantom
from worker.screening import Scorer, Screener, open_scorer
from worker.store import open_store


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return open_scorer(Settings())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write a film, the same film on white, one on a page beside another, and one with a black border."""
    folder = tmp_path_factory.mktemp("films")
    film = draw_phantom(3, width=500)
    pair = Image.new("L", (1200, 800), 255)
    for x in (50, 650):
        pair.paste(film, (x, 100))
    pictures: dict[str, Image.Image] = {
        "film": film,
        "white": ImageOps.expand(film, 100, 255),
        "pair": pair,
        "black": ImageOps.expand(film, 20, 0),
    }
    for name, picture in pictures.items():
        (folder / f"{name}.jpg").write_bytes(encoded(picture, "JPEG", quality=92))
    return [folder / f"{name}.jpg" for name in pictures]


def earlier_bundle(folder: Path) -> Path:
    """Copy the bundle of whole films with the card that it had before films were cut out."""
    shutil.copytree(WHOLE_FILMS, folder)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    card["input"]["preprocessing_version"] = WHOLE_PICTURE
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def accept(settings: Settings, ledger: Ledger, folder: Path, files: list[Path]) -> list[int]:
    """Accept copies of the files, for the acceptor removes what it accepts."""
    copies = [Path(shutil.copy(path, folder)) for path in files]
    taken = Acceptor(settings, ledger, open_store(settings)).accept(
        [Candidate(path, path.name) for path in copies], source=Source.IMPORT, lane=Lane.OVERNIGHT
    )
    return [row.image_id for row in taken]


def test_film_is_cut_out_of_its_margin_and_two_films_are_rejected(
    tmp_path: Path, ledger: Ledger, scorer: Scorer, files: list[Path]
) -> None:
    settings = make_settings(tmp_path / "data")
    ids = accept(settings, ledger, tmp_path, files)
    assert Screener(settings, ledger, open_store(settings), scorer).screen(ids) == len(ids)
    found = [image(ledger, number) for number in ids]
    assert [row.state for row in found] == ["scored", "scored", "rejected", "scored"]
    assert (found[2].reason_code, found[2].reason) == ("on_a_page", REJECTIONS["on_a_page"])
    with ledger.reading() as session:
        crops = {row.image_id: row.crop for row in session.scalars(select(Prediction))}
        events = session.scalars(select(AuditEvent).where(AuditEvent.kind == "scored")).all()
    assert (crops[ids[0]], crops[ids[3]]) == (None, None)
    crop = crops[ids[1]]
    assert crop is not None
    film = draw_phantom(3, width=500)
    assert np.allclose(crop, (100, 100, 100 + film.width, 100 + film.height), atol=6)
    recorded = {row.subject: tuple(json.loads(row.payload)[side] for side in CROP) for row in events}
    assert recorded == {f"image:{number}": crop or (None,) * 4 for number, crop in crops.items()}
    assert assert_consistent(ledger).rejected == 1


PLATE = 1200


@pytest.mark.parametrize("level", [0, 128, 255], ids=["black", "grey", "white"])
@pytest.mark.parametrize("share", [0.15, 0.3, 0.45, 0.6])
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.1, 0.2), (0.0, 1.0)], ids=["middle", "aside", "corner"])
def test_shrunk_chest_on_a_plain_picture_is_never_scored_as_it_is(
    scorer: Scorer, level: int, share: float, place: tuple[float, float]
) -> None:
    """It is cut out, or rejected with a sentence."""
    chest = draw_phantom(3, width=round(share * PLATE))
    left, top = (round(part * (PLATE - length)) for part, length in zip(place, chest.size, strict=True))
    picture = Image.new("L", (PLATE, PLATE), level)
    picture.paste(chest, (left, top))
    try:
        crop = scorer.prepare(encoded(picture, "JPEG", quality=92), limits_of(Settings())).admitted.crop
    except RejectedImage:
        return
    assert crop is not None, "the whole picture was scored"
    slack = 0.02 * PLATE
    assert left - slack <= crop.left < crop.right <= left + chest.width + slack
    assert top - slack <= crop.top < crop.bottom <= top + chest.height + slack
    assert crop.area >= 0.5 * chest.width * chest.height


def test_screen_command_says_what_was_scored(files: list[Path]) -> None:
    documents = screen_files(Settings(), files)
    assert [row["outcome"] for row in documents] == ["scored", "scored", "rejected", "scored"]
    assert [row["crop"] is None for row in documents] == [True, False, True, True]
    assert list(dict(documents[1]["crop"] or {})) == ["left", "top", "right", "bottom"]  # type: ignore[call-overload]
    assert documents[2]["reason"] == REJECTIONS["on_a_page"]
    assert documents[2]["verdict"] is None


def test_film_smaller_than_an_image_may_be_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    ImageOps.expand(draw_phantom(3, width=60), 20, 255).save(path)
    (document,) = screen_files(Settings(), [path])
    assert document["outcome"] == "rejected"
    assert "The film on the page has" in str(document["reason"])


def test_cut_film_is_replayed_with_its_outline(
    tmp_path: Path, ledger: Ledger, scorer: Scorer, files: list[Path]
) -> None:
    settings = make_settings(tmp_path / "data")
    (number,) = accept(settings, ledger, tmp_path, files[1:2])
    Screener(settings, ledger, open_store(settings), scorer).screen([number])
    comparison = replay_image(settings, ledger, number)
    assert comparison["same"] is True
    assert comparison["computed"]["crop"] == comparison["recorded"]["crop"] is not None
    assert "crop " in as_text(comparison)
    with ledger.transaction() as session:
        session.execute(update(Prediction).values(crop_left=1))
    assert replay_image(settings, ledger, number)["same"] is False


def test_older_prediction_of_a_film_on_a_page_is_replayed(
    tmp_path: Path, ledger: Ledger, scorer: Scorer
) -> None:
    """It scored the whole picture."""
    settings = make_settings(tmp_path / "data")
    (tmp_path / "plate").mkdir()
    plate = tmp_path / "plate" / "plate.png"
    ImageOps.expand(draw_phantom(3, width=500), 60, 0).save(plate)
    assert scorer.prepare(plate.read_bytes(), limits_of(settings)).admitted.crop is not None
    (number,) = accept(settings, ledger, tmp_path, [plate])
    earlier = open_scorer(Settings(model=earlier_bundle(tmp_path / "bundle")))
    Screener(settings, ledger, open_store(settings), earlier).screen([number])
    assert earlier.bundle.sha256 != scorer.bundle.sha256
    comparison = replay_image(settings, ledger, number)
    assert comparison["same"] is True
    assert comparison["computed"]["crop"] is None


def test_prediction_of_a_ledger_before_model_identities_is_replayed(
    tmp_path: Path, ledger: Ledger, scorer: Scorer, files: list[Path]
) -> None:
    """The model was identified by its network alone."""
    settings = make_settings(tmp_path / "data")
    (number,) = accept(settings, ledger, tmp_path, files[:1])
    Screener(settings, ledger, open_store(settings), scorer).screen([number])
    with ledger.transaction() as session:
        session.execute(update(Model).values(sha256=scorer.bundle.network_sha256, card={}))
    assert replay_image(settings, ledger, number)["same"] is True
    # Another model scores by now.
    upgraded = make_settings(tmp_path / "data", model=with_distance(tmp_path / "newer", limit=1.0))
    assert replay_image(upgraded, ledger, number)["same"] is True


def test_admitted_films_have_the_model_input_of_training(xrays: list[Path]) -> None:
    bundle = load_bundle(WHOLE_FILMS)
    admission = Admission(bundle)
    for path in xrays[::4]:
        data = path.read_bytes()
        assert np.array_equal(admission.admit(data).model_input, to_model_input(data, bundle.side))
