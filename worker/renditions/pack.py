"""A pack: the file that holds all renditions of one image, with their hashes and the facts about the picture.

It is an uncompressed ZIP archive of one picture for each kind, and `manifest.json`.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, BinaryIO

# A new version of the drawing makes packs of its own: another number, another folder.
PACK_VERSION = "2"
_MANIFEST = "manifest.json"
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


class DamagedPack(Exception):  # noqa: N818 - an outcome: the pack is made again
    """The pack is incomplete, or its bytes have changed."""


class Kind(StrEnum):
    """The renditions of an image: of up to 4,096, 480 and 160 pixels a side; and its values, if they have over 8 bits.

    VALUES is as large as FULL. Browsers show 8 bits only, so it has two colours: of each value, spread over 0..65535 from
    the lowest of the picture to the highest, red holds the upper 8 bits and green the lower 8.
    """

    FULL = "full"
    VALUES = "values"
    PREVIEW = "preview"
    THUMBNAIL = "thumbnail"


@dataclass(frozen=True)
class Facts:
    """What the renditions show.

    Attributes:
        width: of the original in pixels, after its orientation was applied.
        height: likewise.
        bits: bits per pixel of the full rendition, 8 or 16.
        grey: the grey scale of a picture that has VALUES (`GreyFacts.as_dict`); None for other pictures.
    """

    width: int
    height: int
    bits: int
    grey: dict[str, Any] | None = None


@dataclass(frozen=True)
class Rendition:
    """One encoded picture: `content_type` is `image/png` or `image/jpeg`."""

    data: bytes
    content_type: str
    sha256: str
    facts: Facts


def write_pack(file: BinaryIO, facts: Facts, pictures: Mapping[Kind, bytes]) -> None:
    """Write a pack to a seekable file."""
    hashes = {kind.value: hashlib.sha256(data).hexdigest() for kind, data in pictures.items()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for kind, data in pictures.items():
            archive.writestr(kind.value, data)
        archive.writestr(_MANIFEST, json.dumps({**asdict(facts), "sha256": hashes}))


def read_pack(file: BinaryIO, kind: Kind) -> Rendition:
    """Return one rendition of a pack, after its hash was checked. Raises DamagedPack."""
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = json.loads(archive.read(_MANIFEST))
            data = archive.read(kind.value)
        sha256 = manifest.pop("sha256")[kind.value]
        facts = Facts(**manifest)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, OSError) as error:
        raise DamagedPack(str(error)) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DamagedPack("a rendition differs from its hash")
    return Rendition(data, _content_type(data), sha256, facts)


def _content_type(data: bytes) -> str:
    for signature, content_type in _SIGNATURES.items():
        if data.startswith(signature):
            return content_type
    raise DamagedPack("a rendition is neither PNG nor JPEG")
