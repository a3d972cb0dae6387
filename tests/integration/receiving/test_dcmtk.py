"""DCMTK's programs send to the receiver: every transfer syntax, wrong titles and addresses, TLS, parallel associations."""

from __future__ import annotations

import io
import subprocess
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from pydicom import uid
from pydicom.uid import UID
from pynetdicom.ae import ApplicationEntity

from tests.certificates import write_certificate
from tests.dicom import DCMSEND, ECHOSCU, STORESCU, call, radiograph, write, written
from tests.dicom_objects import as_file, grey_object, phantom_values
from tests.integration.receiving.peers import Running, Start
from worker.ledger.receiver_tallies import Kind
from worker.ledger.tables import Receipt
from worker.store import open_store

# Each with the program that makes such a file, and the option of storescu that proposes it.
SYNTAXES: dict[UID, tuple[Sequence[str], str]] = {
    uid.ImplicitVRLittleEndian: (["dcmconv", "+ti"], "-xi"),
    uid.ExplicitVRLittleEndian: (["dcmconv", "+te"], "-xe"),
    uid.ExplicitVRBigEndian: (["dcmconv", "+tb"], "-xb"),
    uid.DeflatedExplicitVRLittleEndian: (["dcmconv", "+td"], "-xd"),
    uid.RLELossless: (["dcmcrle"], "-xr"),
    uid.JPEGBaseline8Bit: (["dcmcjpeg", "+eb"], "-xy"),
    uid.JPEGExtended12Bit: (["dcmcjpeg", "+ee"], "-xx"),
    uid.JPEGLosslessSV1: (["dcmcjpeg", "+e1"], "-xs"),
    uid.JPEGLSLossless: (["dcmcjpls"], "-xt"),
    uid.JPEGLSNearLossless: (["dcmcjpls", "+en"], "-xu"),
    uid.JPEG2000Lossless: ([], "-xv"),
    uid.JPEG2000: ([], "-xw"),
    # storescu proposes neither; dcmsend does.
    uid.JPEGLossless: (["dcmcjpeg", "+el"], ""),
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> dict[UID, Path]:
    """Return a file in each transfer syntax."""
    folder = tmp_path_factory.mktemp("encoded")
    files = {}
    for number, (syntax, (command, _)) in enumerate(SYNTAXES.items()):
        native = write(
            radiograph(number, bits=8 if syntax == uid.JPEGBaseline8Bit else 12),
            folder / f"native-{number}.dcm",
        )
        files[syntax] = folder / f"{number}.dcm"
        if command:
            subprocess.run([*command, native, files[syntax]], check=True)
        else:
            dataset = pydicom.dcmread(native)
            dataset.compress(syntax, j2k_cr=[10] if syntax == uid.JPEG2000 else None)
            dataset.save_as(files[syntax])
        assert pydicom.dcmread(files[syntax]).file_meta.TransferSyntaxUID == syntax
    return files


@pytest.fixture
def running(start: Start) -> Running:
    return start()


def stored(running: Running, receipt: Receipt) -> pydicom.Dataset:
    """Return the object in the store that a receipt is about."""
    return pydicom.dcmread(open_store(running.settings).path(receipt.sha256))


@pytest.mark.parametrize(
    "syntax", [syntax for syntax, (_, option) in SYNTAXES.items() if option], ids=lambda s: s.name
)
def test_storescu_sends_in_every_transfer_syntax(
    running: Running, encoded: dict[UID, Path], syntax: UID
) -> None:
    call(STORESCU, running.port, SYNTAXES[syntax][1], encoded[syntax])
    [receipt] = running.receipts()
    sent, got = pydicom.dcmread(encoded[syntax]), stored(running, receipt)
    assert got.file_meta.TransferSyntaxUID == syntax
    assert got.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID
    assert got.PixelData == sent.PixelData
    assert receipt.original_name == f"{sent.SOPInstanceUID}.dcm"


def test_dcmsend_sends_all_in_one_call(running: Running, encoded: dict[UID, Path]) -> None:
    for _ in range(2):
        call(DCMSEND, running.port, "--decompress-never", *encoded.values())
    receipts = running.receipts()
    syntaxes = Counter(stored(running, receipt).file_meta.TransferSyntaxUID for receipt in receipts)
    # dcmsend converts implicit and big endian to explicit little endian.
    converted = {uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian}
    assert syntaxes == dict.fromkeys(SYNTAXES.keys() - converted, 2) | {uid.ExplicitVRLittleEndian: 6}
    assert Counter(receipt.outcome == "duplicate" for receipt in receipts) == {
        True: len(SYNTAXES),
        False: len(SYNTAXES),
    }


def test_htj2k_comes_from_pynetdicom(running: Running) -> None:
    """DCMTK has no HTJ2K; its twelve syntaxes are above."""
    sent = pydicom.dcmread(io.BytesIO(as_file(grey_object(phantom_values()), uid.HTJ2KLossless)))
    sender = ApplicationEntity("MODALITY")
    sender.add_requested_context(sent.SOPClassUID, uid.HTJ2KLossless)
    association = sender.associate("127.0.0.1", running.port, ae_title="NIGHTREAD")
    assert association.is_established
    status = association.send_c_store(sent)
    association.release()
    [receipt] = running.receipts()
    assert (status.Status, receipt.outcome) == (0, "new")
    got = stored(running, receipt)
    assert got.file_meta.TransferSyntaxUID == uid.HTJ2KLossless
    assert got.PixelData == sent.PixelData


def test_echoscu_gets_an_answer(running: Running) -> None:
    assert call(ECHOSCU, running.port).returncode == 0


def test_wrong_titles_are_told(start: Start) -> None:
    running = start(dicom_calling="MODALITY")
    wrong_called = call(ECHOSCU, running.port, called="OTHER")
    wrong_calling = call(ECHOSCU, running.port, calling="STRANGER")
    assert "Called AE Title Not Recognized" in wrong_called.stderr + wrong_called.stdout
    assert "Calling AE Title Not Recognized" in wrong_calling.stderr + wrong_calling.stdout
    assert [running.counted(kind) for kind in (Kind.CALLED_TITLE, Kind.CALLING_TITLE)] == [1, 1]


def test_sender_at_another_address_sends_nothing(start: Start, tmp_path: Path) -> None:
    running = start(dicom_addresses="192.0.2.7")
    assert call(STORESCU, running.port, *written(tmp_path / "files", 1)).returncode != 0
    assert running.counted(Kind.ADDRESS) == 1
    assert running.receipts() == []


def test_ct_object_gets_a_receipt_and_a_refusal(running: Running, tmp_path: Path) -> None:
    ct = write(radiograph(1, sop_class=uid.CTImageStorage), tmp_path / "ct.dcm")
    sent = call(STORESCU, running.port, ct)
    [receipt] = running.receipts()
    assert receipt.outcome == "rejected"
    assert "CannotUnderstand" in sent.stdout + sent.stderr


@pytest.mark.parametrize("authority", [False, True], ids=["server certificate", "client certificate too"])
def test_tls(start: Start, tmp_path: Path, authority: bool) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "client").mkdir()
    certificate, key = write_certificate(tmp_path / "server", "night.example")
    own_certificate, own_key = write_certificate(tmp_path / "client", "modality.example")
    key.chmod(0o600)
    running = start(
        dicom_tls_certificate=str(certificate),
        dicom_tls_key=str(key),
        dicom_tls_ca=str(own_certificate) if authority else "",
    )
    [film] = written(tmp_path / "films", 1)

    def send(*tls: str | Path) -> bool:
        command = [STORESCU, "-aec", "NIGHTREAD", *map(str, tls), "127.0.0.1", str(running.port), str(film)]
        subprocess.run(command, check=False, capture_output=True)
        return len(running.receipts()) > 0

    assert not send(), "without TLS"
    assert not send("+tla", "+cf", own_certificate), "the receiver's certificate is not trusted"
    assert send("+tla", "+cf", certificate) is not authority, "without a certificate of its own"
    assert send("+tls", own_key, own_certificate, "+cf", certificate)
    assert running.counted(Kind.TLS) > 0


def test_peer_that_says_nothing_to_tls_keeps_nobody_waiting(start: Start, tmp_path: Path) -> None:
    from tests.integration.receiving.peers import Peer

    certificate, key = write_certificate(tmp_path, "night.example")
    key.chmod(0o600)
    running = start(dicom_tls_certificate=str(certificate), dicom_tls_key=str(key))
    silent = [Peer(running.port) for _ in range(3)]
    command = [ECHOSCU, "-aec", "NIGHTREAD", "+tla", "+cf", str(certificate), "127.0.0.1", str(running.port)]
    assert subprocess.run(command, check=False).returncode == 0
    assert running.counted(Kind.TLS) == 0, "the silent ones still have their places"
    for peer in silent:
        peer.close()


def test_two_hundred_objects_in_ten_associations(running: Running, tmp_path: Path) -> None:
    senders = [written(tmp_path / str(number), 20, first=20 * number) for number in range(10)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda files: call(STORESCU, running.port, "--no-halt", *files), senders))
    receipts = running.receipts()
    assert len({receipt.sha256 for receipt in receipts}) == len(receipts) == 200
    assert running.left_in_spool() == []
