"""A real Orthanc forwards what it gets to the receiver, by a rule of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import uid

from tests.conftest import HANG_S, free_port, wait_for
from tests.dicom import STORESCU, call, radiograph, write, written
from tests.integration.receiving.peers import Start

# The rule of docs/dicom.md.
RULE = """
function OnStoredInstance(instanceId, tags, metadata)
    if tags['Modality'] == 'CR' or tags['Modality'] == 'DX' then
        SendToModality(instanceId, 'nightread')
    end
end
"""


@contextmanager
def orthanc(folder: Path, receiver: int) -> Iterator[tuple[int, int]]:
    """Run Orthanc, and yield its DICOM and its HTTP port."""
    dicom, http = free_port(), free_port()
    (folder / "rule.lua").write_text(RULE)
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "Name": "archive", "DicomAet": "ARCHIVE", "DicomPort": dicom, "HttpPort": http,
                "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
                "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
                "LuaScripts": [str(folder / "rule.lua")],
                "DicomModalities": {"nightread": ["NIGHTREAD", "127.0.0.1", receiver]},
                "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False, "Plugins": [],
            }
        )
    )  # fmt: skip
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin") or "Orthanc"
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(http), lambda: (folder / "orthanc.log").read_text()[-2000:])
        yield dicom, http
    finally:
        process.terminate()
        process.wait(HANG_S)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/system", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_archive_forwards_radiographs_by_its_rule(start: Start, tmp_path: Path) -> None:
    running = start(dicom_calling="ARCHIVE")
    ct = write(radiograph(900, sop_class=uid.CTImageStorage), tmp_path / "ct.dcm")
    films = written(tmp_path / "films", 5)
    with orthanc(tmp_path, running.port) as (dicom, _):
        sent = call(STORESCU, dicom, ct, *films, called="ARCHIVE")
        assert sent.returncode == 0, sent.stderr
        wait_for(lambda: len(running.receipts()) >= 5, "the receipts of what the archive forwards")
    receipts = running.receipts()
    assert {receipt.received_by for receipt in receipts} == {"ae:ARCHIVE"}
    assert {receipt.original_name for receipt in receipts} == {
        f"1.2.826.0.1.3680043.10.1.{number}.dcm" for number in range(5)
    }
