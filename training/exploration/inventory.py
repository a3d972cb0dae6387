"""The files of a data set: its images with their splits, and files that are ignored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.data.radiographs import BACTERIAL, NORMAL, VIRAL, Radiograph, list_folders, list_table
from training.errors import WrongInput

SPLITS = ("train", "val", "test")
WHOLE = "all"
_KINDS = {NORMAL: "normal", BACTERIAL: "bacterial", VIRAL: "viral", None: "pneumonia"}
KINDS = tuple(_KINDS.values())
_CLASSES = ("NORMAL", "PNEUMONIA")


@dataclass(frozen=True)
class ListedImage:
    """An image of the data set, with its split and its path within the data set."""

    radiograph: Radiograph
    split: str
    name: str

    @property
    def kind(self) -> str:
        """normal, bacterial, viral, or pneumonia of unknown kind."""
        return _KINDS[self.radiograph.subtype]


@dataclass(frozen=True)
class Inventory:
    """The images of a data set, and the ignored files beside them, each with the reason."""

    sets: tuple[str, ...]
    images: list[ListedImage]
    ignored: list[tuple[str, str]]

    @property
    def title(self) -> str:
        """The names of the folder and of the table."""
        return " and ".join(self.sets)


def take_inventory(data: Path | None, table: Path | None) -> Inventory:
    """List a folder (NORMAL/ and PNEUMONIA/ directly, or in train/, val/ and test/), a table, or both.

    A table beside a folder counts as another split, with its own name.

    Raises:
        WrongInput: neither is given, or one of them is not a data set.
    """
    images: list[ListedImage] = []
    ignored: list[tuple[str, str]] = []
    sets = []
    if data is not None:
        sets.append(data.resolve().name)
        for split, folder in _splits(data):
            images += [ListedImage(image, split, _name(image.path, data)) for image in list_folders(folder)]
        ignored = list(_ignored(data, {image.radiograph.path for image in images}))
    if table is not None:
        sets.append(table.name)
        split = table.stem if data is not None else WHOLE
        images += [ListedImage(image, split, _name(image.path, table.parent)) for image in list_table(table)]
    if not images:
        raise WrongInput("Give a folder that holds NORMAL and PNEUMONIA, or a table with --table, or both.")
    return Inventory(tuple(sets), images, ignored)


def _splits(data: Path) -> list[tuple[str, Path]]:
    splits = [(name, data / name) for name in SPLITS if (data / name).is_dir()]
    if not splits or any((data / name).is_dir() for name in _CLASSES):
        splits.append((WHOLE, data))
    return splits


def _ignored(data: Path, read: set[Path]) -> Iterator[tuple[str, str]]:
    """Yield the files in the class folders that `list_folders` does not list."""
    for _, folder in _splits(data):
        for path in sorted(path for name in _CLASSES for path in (folder / name).iterdir()):
            if path not in read:
                reason = "a folder in a class's folder" if path.is_dir() else "not named .jpeg, .jpg or .png"
                yield _name(path, data), reason


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
