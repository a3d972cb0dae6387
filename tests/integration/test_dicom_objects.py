"""DICOM objects on their way from a file to a score: the same as for other files, and the same in every transfer syntax."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import CTImageStorage
from sqlalchemy import select

from tests.conftest import TEST_DATA, make_settings
from tests.dicom_objects import LOSSLESS, as_file, grey_object, phantom_values, with_pixels, without_preamble
from tests.filling import assert_consistent, image
from tests.integration.test_screening import Site
from worker.commands.replay import replay_image
from worker.commands.screen_files import screen_files
from worker.config import Settings
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState
from worker.ledger.tables import Instance, Prediction, Study
from worker.screening import Scorer, open_scorer

CHEST = TEST_DATA / "dicom" / "cr_chest_pa_monochrome1_j2k.dcm"


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return open_scorer(Settings())


@pytest.fixture
def site(tmp_path: Path, ledger: Ledger, scorer: Scorer) -> Site:
    return Site(make_settings(tmp_path / "data"), ledger, scorer)


def chest(**elements: Any) -> bytes:
    """Return an object of a phantom with 12 bits, as a device of computed radiography sends it."""
    return as_file(grey_object(phantom_values(width=400), **elements))


def scores(row: Prediction) -> tuple[float, float, float]:
    return row.p_normal, row.p_bacterial, row.p_viral


def test_same_picture_has_the_same_score_in_each_transfer_syntax(site: Site, tmp_path: Path) -> None:
    made = grey_object(phantom_values(width=400))
    files = [as_file(made, syntax) for syntax in LOSSLESS.values()]
    files.append(without_preamble(files[0]))
    ids = site.accept(tmp_path, files)
    assert site.screener.screen(ids) == len(files)
    predictions = site.predictions()
    assert len({scores(row) for row in predictions.values()}) == 1
    assert len({repr(row.greyscale) for row in predictions.values()}) == 1
    for image_id in ids:
        assert image(site.ledger, image_id).format == "dicom"
    assert replay_image(site.settings, site.ledger, ids[-1])["same"]
    assert_consistent(site.ledger)


def test_grey_scale_stands_on_the_prediction(site: Site, tmp_path: Path) -> None:
    window = {"WindowCenter": [2000, 100], "WindowWidth": [3000, 10]}
    (image_id,) = site.accept(tmp_path, [chest(**window)])
    site.screener.screen([image_id])
    greyscale = site.predictions()[image_id].greyscale
    assert greyscale is not None
    assert (greyscale["voi"], greyscale["stored_bits"], greyscale["inverted"]) == ("window", 12, False)
    assert_consistent(site.ledger)


def test_inverted_object_has_the_score_of_its_picture(site: Site, tmp_path: Path) -> None:
    values = phantom_values(width=400)
    inverted = (4095 - values).astype(np.uint16)
    ids = site.accept(
        tmp_path,
        [
            as_file(grey_object(values)),
            as_file(grey_object(inverted, PhotometricInterpretation="MONOCHROME1")),
        ],
    )
    site.screener.screen(ids)
    first, second = (scores(row) for row in site.predictions().values())
    assert first == second


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"SOPClassUID": CTImageStorage, "Modality": "CT"}, "dicom_other_object"),
        ({"BodyPartExamined": "LEG"}, "dicom_other_body_part"),
        ({"ViewPosition": "LL"}, "dicom_other_view"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "dicom_for_processing"),
        ({"Columns": None}, "dicom_no_pixels"),
    ],
)
def test_unsuitable_object_is_rejected_by_its_tags(
    site: Site, tmp_path: Path, elements: dict[str, Any], code: str
) -> None:
    (image_id,) = site.accept(tmp_path, [chest(**elements)])
    found = image(site.ledger, image_id)
    assert (found.state, found.reason_code) == (ImageState.REJECTED, code)
    assert "Planted" not in (found.reason or "")


@pytest.mark.parametrize("name", ["RLE", "JPEG lossless SV1", "JPEG-LS", "JPEG 2000", "HTJ2K"])
def test_cut_frame_is_rejected_and_the_other_object_is_scored(site: Site, tmp_path: Path, name: str) -> None:
    syntax = LOSSLESS[name]
    whole = as_file(grey_object(phantom_values(width=400)), syntax)
    frame = generate_frames(dcmread(io.BytesIO(whole)).PixelData, number_of_frames=1)
    cut = with_pixels(whole, syntax, next(frame)[:-2000])
    ids = site.accept(tmp_path, [whole, cut])
    assert site.screener.screen(ids) == 2
    assert image(site.ledger, ids[0]).state == ImageState.SCORED
    assert image(site.ledger, ids[1]).reason_code in {
        "truncated",
        "dicom_pixels_damaged",
        "dicom_pixel_bytes",
    }


def test_command_screens_objects_and_names_the_reason_of_others(tmp_path: Path) -> None:
    for name, data in (("film", chest()), ("leg.dcm", chest(BodyPartExamined="LEG"))):
        (tmp_path / name).write_bytes(data)
    good, leg = screen_files(Settings(), [tmp_path / "film", tmp_path / "leg.dcm"])
    assert good["outcome"] == "scored"
    assert (leg["outcome"], "LEG" in str(leg["reason"])) == ("rejected", True)


def test_real_chest_has_the_same_score_in_each_transfer_syntax(site: Site, tmp_path: Path) -> None:
    """Without the real object, a phantom of 15 bits stands for it."""
    source: Dataset
    if CHEST.exists():
        source = dcmread(CHEST)
        source.decompress()
    else:
        values = 2**15 - 1 - phantom_values(15, 400)
        source = grey_object(values, 15, PhotometricInterpretation="MONOCHROME1")
    files = [as_file(source, LOSSLESS[name]) for name in ("explicit", "RLE", "JPEG-LS", "JPEG 2000")]
    files += [CHEST.read_bytes()] if CHEST.exists() else []
    ids = site.accept(tmp_path, files)
    assert site.screener.screen(ids) == len(files)
    assert len({scores(row) for row in site.predictions().values()}) == 1


def test_identity_of_an_object_stands_beside_its_image(site: Site, tmp_path: Path) -> None:
    first = chest(PatientAge="004Y", PatientSex="F", AccessionNumber="A17")
    second = chest(PatientAge="041Y", BodyPartExamined="LEG")
    ids = site.accept(tmp_path, [first, second])
    site.screener.screen(ids)
    of_image = select(Study.age_years, Study.sex, Instance.view, Study.patient_key).join(Instance.study)
    with site.ledger.reading() as session:
        rows = session.execute(of_image.order_by(Instance.image_id)).all()
    assert [row[:3] for row in rows] == [(4, "F", "PA"), (41, None, "PA")]
    assert len({row.patient_key for row in rows}) == 1, "a rejected object belongs to its patient, too"
    assert site.predictions()[ids[0]].population == "inside"
    assert_consistent(site.ledger)
