"""DICOM objects that break the standard, or are made to harm. None shows a patient."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.dicom_objects import as_file, grey_object, lut, phantom_values, with_pixels

_BITS = 12
_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff"
_OPEN_ITEM = _ITEM + b"\xff\xff\xff\xff"
_END = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_FIRST = b"\x08\x00\x16\x00UI"


def hostile_objects(width: int = 320) -> dict[str, bytes]:
    """Return objects by what is wrong with them. Each has a picture or an instance UID of its own."""
    return {
        name: data
        for kinds in (_harmful, _lengths, _encodings, _pixels, _grey_scales, _texts)
        for name, data in kinds(width)
    }


def _film(width: int, name: str, **elements: Any) -> Dataset:
    """Return a chest whose instance UID belongs to this name."""
    uid = f"2.25.{zlib.crc32(name.encode())}"
    return grey_object(phantom_values(_BITS, width), **{"SOPInstanceUID": uid, **elements})


def _file(width: int, name: str, syntax: UID = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    return as_file(_film(width, name, **elements), syntax)


def _replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    if data.count(old) != 1:
        raise ValueError(f"{old!r} is not there once")
    return data.replace(old, new)


def _inserted(data: bytes, parts: bytes) -> bytes:
    """Return an explicit little endian object with these bytes before its first element."""
    at = data.index(_FIRST)
    return data[:at] + parts + data[at:]


def _element(data: bytes, tag: bytes, vr: bytes) -> int:
    """Return where the value of a short element begins."""
    return data.index(tag + vr) + 8


def _with_value(data: bytes, tag: bytes, vr: bytes, value: bytes) -> bytes:
    at = _element(data, tag, vr)
    return data[:at] + value + data[at + len(value) :]


def _harmful(width: int) -> Iterator[tuple[str, bytes]]:
    name = "deflate bomb before the pixels"
    data = _file(width, name, DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(b"\x08\x00\x05\x00UT\x00\x00" + struct.pack("<L", 1 << 29))
    yield (
        name,
        data[:start] + bomb + b"".join(packer.compress(bytes(1 << 24)) for _ in range(32)) + packer.flush(),
    )
    name = "deflate bomb after the pixels"
    data = _file(width, name, DeflatedExplicitVRLittleEndian)
    body = zlib.decompress(data[start:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(body) + b"".join(packer.compress(bytes(1 << 24)) for _ in range(32))
    yield name, data[:start] + bomb + packer.flush()
    for name, depth in (("deep nest", 5_000), ("deeper nest", 100_000)):
        yield name, _inserted(_file(width, name), (_SEQUENCE + _OPEN_ITEM) * depth)
    name = "many elements"
    elements = b"".join(struct.pack("<HH2sH", 9, number, b"LO", 0) for number in range(60_000))
    yield name, _inserted(_file(width, name), elements)
    for syntax in (ExplicitVRLittleEndian, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless):
        name = f"65535 x 65535 in {syntax.name}"
        data = _file(width, name, syntax)
        lie = _with_value(data, b"\x28\x00\x10\x00", b"US", b"\xff\xff")
        yield name, _with_value(lie, b"\x28\x00\x11\x00", b"US", b"\xff\xff")
    name = "10000 x 10000 in the codestream as well"
    data = _file(width, name, JPEG2000Lossless)
    lie = _with_value(data, b"\x28\x00\x10\x00", b"US", struct.pack("<H", 10_000))
    lie = _with_value(lie, b"\x28\x00\x11\x00", b"US", struct.pack("<H", 10_000))
    at = lie.index(b"\xff\x4f\xff\x51") + 8
    yield name, lie[:at] + struct.pack(">LL", 10_000, 10_000) + lie[at + 8 :]
    name = "RLE bomb"
    film = _film(width, name)
    side = min(film.Rows, film.Columns)
    segment = b"\x81\x00" * (side * side)
    frame = struct.pack("<16L", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
    yield name, with_pixels(as_file(film), RLELossless, frame)


def _lengths(width: int) -> Iterator[tuple[str, bytes]]:
    name = "cut"
    data = _file(width, name)
    for part in (2, 10, 50, 90, 99):
        yield f"cut at {part} %", _file(width, f"cut {part}")[: len(data) * part // 100]
    yield "cut in the file meta information", data[:160]
    yield "cut after the prefix", data[:132]
    yield "cut by one byte", data[:-1]
    for length in (0, 1, 4, 10_000, 0xFFFFFFFF):
        name = f"group length {length} of the file meta information"
        data = _file(width, name)
        yield name, data[:140] + struct.pack("<L", length) + data[144:]
        name = f"group length {length} of group 8"
        yield name, _inserted(_file(width, name), b"\x08\x00\x00\x00UL\x04\x00" + struct.pack("<L", length))
    for length in (1, 0xFFFE, 0xFFFF):
        name = f"element of length {length}"
        yield name, _inserted(_file(width, name), b"\x08\x00\x05\x00CS" + struct.pack("<H", length))
    for length in (0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
        name = f"text of length {length}"
        yield name, _inserted(_file(width, name), b"\x08\x00\x05\x00UT\x00\x00" + struct.pack("<L", length))
    for change, words in (
        (-1, "one column too few"),
        (1, "one column too many"),
        (40, "40 columns too many"),
    ):
        data = _file(width, words)
        columns = struct.pack("<H", dcmread(io.BytesIO(data)).Columns + change)
        yield words, _with_value(data, b"\x28\x00\x11\x00", b"US", columns)
    name = "pixels of length 0"
    data = _file(width, name)
    at = data.index(b"\xe0\x7f\x10\x00OW\x00\x00") + 8
    yield name, data[:at] + bytes(4)
    name = "pixels of unknown length"
    data = _file(width, name)
    yield name, data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]


def _encodings(width: int) -> Iterator[tuple[str, bytes]]:
    for vr in (b"ZZ", b"??", b"\x00\x00", b"  ", b"UN"):
        name = f"odd representation {vr!r}"
        yield name, _inserted(_file(width, name), b"\x08\x00\x05\x00" + vr + b"\x04\x00ABCD")
        name = f"odd representation {vr!r} of Rows"
        yield name, _replaced(_file(width, name), b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00" + vr)
        name = f"odd representation {vr!r} of the pixels"
        yield name, _replaced(_file(width, name), b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x10\x00" + vr)
    name = "number of three bytes"
    yield (
        name,
        _replaced(
            _file(width, name),
            b"\x28\x00\x02\x00US\x02\x00\x01\x00",
            b"\x28\x00\x02\x00US\x03\x00\x01\x00\x00",
        ),
    )
    syntaxes = (
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        (ExplicitVRLittleEndian, ExplicitVRBigEndian),
        (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
        (ExplicitVRLittleEndian, RLELossless),
        (RLELossless, ExplicitVRLittleEndian),
        (RLELossless, JPEG2000Lossless),
        (JPEGLSLossless, JPEGLosslessSV1),
        (JPEGLosslessSV1, JPEGLSLossless),
        (JPEG2000Lossless, JPEGBaseline8Bit),
    )
    for real, stated in syntaxes:
        name = f"{real.name} that states {stated.name}"
        yield name, _restated(_file(width, name, real), real, stated)
    name = "transfer syntax of MPEG2"
    yield name, _restated(_file(width, name), ExplicitVRLittleEndian, UID("1.2.840.10008.1.2.4.100"))
    for offset in (4, 1_000, 0xFFFFFFFF):
        name = f"offset table that states {offset}"
        data = _file(width, name, JPEG2000Lossless)
        at = _fragments(data)
        (length,) = struct.unpack("<L", data[at + 4 : at + 8])
        yield name, data[:at] + _ITEM + struct.pack("<LL", 4, offset) + data[at + 8 + length :]
    for length in (0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF):
        name = f"fragment of length {length}"
        data = _file(width, name, JPEGLosslessSV1)
        at = _fragments(data) + 8 + int.from_bytes(data[_fragments(data) + 4 :][:4], "little") + 4
        yield name, data[:at] + struct.pack("<L", length) + data[at + 4 :]
    name = "thousands of fragments"
    data = _file(width, name, JPEGLosslessSV1)
    yield name, data[:-8] + (_ITEM + bytes(4)) * 50_000 + _END
    name = "no fragment"
    data = _file(width, name, JPEGLosslessSV1)
    yield name, data[: _fragments(data)] + _END


def _fragments(data: bytes) -> int:
    """Return where the item of the offset table begins."""
    return data.index(b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff") + 12


def _restated(data: bytes, real: UID, stated: UID) -> bytes:
    """Return an object that calls its transfer syntax by another name."""

    def element(uid: UID) -> bytes:
        value = uid.encode() + b"\0" * (len(uid) % 2)
        return b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value

    changed = _replaced(data, element(real), element(stated))
    length = int.from_bytes(data[140:144], "little") + len(changed) - len(data)
    return changed[:140] + struct.pack("<L", length) + changed[144:]


def _pixels(width: int) -> Iterator[tuple[str, bytes]]:
    numbers: dict[str, dict[str, Any]] = {
        "two frames": {"NumberOfFrames": 2},
        "a million frames": {"NumberOfFrames": 1_000_000},
        "no frame": {"NumberOfFrames": 0},
        "more bits stored than allocated": {"BitsStored": 17},
        "no bit stored": {"BitsStored": 0},
        "high bit 15": {"HighBit": 15},
        "one bit allocated": {"BitsAllocated": 1},
        "32 bits allocated": {"BitsAllocated": 32},
        "representation 7": {"PixelRepresentation": 7},
        "signed": {"PixelRepresentation": 1},
        "three samples": {"SamplesPerPixel": 3},
        "no rows": {"Rows": 0},
        "one row": {"Rows": 1},
        "two values of Rows": {"Rows": [400, 400]},
        "empty photometric interpretation": {"PhotometricInterpretation": ""},
        "unknown photometric interpretation": {"PhotometricInterpretation": "MONOCHROME3"},
        "two photometric interpretations": {"PhotometricInterpretation": ["MONOCHROME1", "MONOCHROME2"]},
        "no bits stored stated": {"BitsStored": None},
    }
    for name, elements in numbers.items():
        yield name, _file(width, name, **elements)
    name = "no pixels"
    film = _film(width, name)
    del film.PixelData
    yield name, as_file(film)
    name = "a colour JPEG"
    film = _film(width, name)
    colour = np.zeros((film.Rows, film.Columns, 3), dtype=np.uint8)
    yield name, with_pixels(as_file(film), JPEGBaseline8Bit, bytes(imagecodecs.jpeg8_encode(colour)))
    for name, syntax in (("noise for JPEG-LS", JPEGLSLossless), ("noise for JPEG 2000", JPEG2000Lossless)):
        noise = np.random.default_rng(1).bytes(20_000)
        yield name, with_pixels(_file(width, name), syntax, noise)
    for name, syntax in (("holes in JPEG", JPEGLosslessSV1), ("holes in JPEG 2000", JPEG2000Lossless)):
        data = _file(width, name, syntax)
        yield name, data[: len(data) // 2] + bytes(500) + data[len(data) // 2 + 500 :]


def _grey_scales(width: int) -> Iterator[tuple[str, bytes]]:
    table = np.arange(4096)
    wrong = lut(0, table)
    wrong[0].LUTDescriptor = [0, 0, 16]
    short = lut(0, table[:10])
    short[0].LUTDescriptor = [4096, 0, 300]
    two = lut(0, table)
    two[0].LUTDescriptor = [4096, 0]
    empty = lut(0, table)
    del empty[0].LUTData
    scales: dict[str, dict[str, Any]] = {
        "rescale slope 0": {"RescaleSlope": "0", "RescaleIntercept": "0"},
        "rescale slope 1e300": {"RescaleSlope": "1e300", "RescaleIntercept": "0"},
        "window width 0": {"WindowCenter": 2000, "WindowWidth": 0},
        "window width -5": {"WindowCenter": 2000, "WindowWidth": -5},
        "window far away": {"WindowCenter": 2_000_000_000, "WindowWidth": 1},
        "VOI LUT of 65536 entries that has 4096": {"VOILUTSequence": wrong},
        "VOI LUT of too few entries": {"VOILUTSequence": short},
        "VOI LUT with two descriptors": {"VOILUTSequence": two},
        "VOI LUT without data": {"VOILUTSequence": empty},
        "modality LUT without data": {"ModalityLUTSequence": empty},
        "spacing 0": {"PixelSpacing": [0, 0]},
        "spacing 1e300": {"PixelSpacing": ["1e300", "1e300"]},
    }
    for name, elements in scales.items():
        yield name, _file(width, name, **elements)
    for value in (b"NaN ", b"inf ", b"abc ", b"1\\2 ", b"1e99"):
        for tag, what in ((b"\x28\x00\x53\x10", "rescale slope"), (b"\x28\x00\x51\x10", "window width")):
            name = f"{what} {value.decode().strip()}"
            data = _file(
                width,
                name,
                RescaleSlope="1.00",
                RescaleIntercept="0",
                WindowCenter="2000",
                WindowWidth="3000",
            )
            yield name, _with_value(data, tag, b"DS", value)


def _texts(width: int) -> Iterator[tuple[str, bytes]]:
    texts: dict[str, dict[str, Any]] = {
        "path as UID": {"SOPInstanceUID": "../../../../etc/passwd"},
        "long UID": {"SOPInstanceUID": "1." * 300 + "1"},
        "unknown character set": {"SpecificCharacterSet": "ISO_IR 999999", "PatientID": "4711"},
        "escape sequences": {"PatientID": "\x1b$B47\x1b(B\\..\\\x00<script>"},
        "absurd age": {"PatientAge": "999Y", "PatientBirthDate": "00000000", "StudyDate": "99999999"},
        "no identity": {"SOPInstanceUID": None, "StudyInstanceUID": None, "PatientID": None},
        "long view": {"ViewPosition": "P" * 5_000},
    }
    for name, elements in texts.items():
        yield name, _file(width, name, **elements)
    yield "text after the prefix", bytes(128) + b"DICM" + b"Dear colleague, the X-ray is attached." * 50
    yield "zeros after the prefix", bytes(128) + b"DICM" + bytes(5_000)
    yield "noise after the prefix", bytes(128) + b"DICM" + np.random.default_rng(2).bytes(5_000)
