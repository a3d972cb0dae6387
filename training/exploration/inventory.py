"""What a data set holds: its images with their splits, and what lies beside them and is not read."""

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
class Listed:
    """An image of the data set, in which split, and its name from the data's own folder on."""

    radiograph: Radiograph
    split: str
    name: str

    @property
    def kind(self) -> str:
        """normal, bacterial, viral, or pneumonia where its kind is not known."""
        return _KINDS[self.radiograph.subtype]


@dataclass(frozen=True)
class Inventory:
    """A data set's images, and what lies beside them and is not read, each with the reason."""

    sets: tuple[str, ...]
    images: list[Listed]
    ignored: list[tuple[str, str]]

    @property
    def title(self) -> str:
        """The names of the folder and of the table."""
        return " and ".join(self.sets)


def take_inventory(data: Path | None, table: Path | None) -> Inventory:
    """List a folder (NORMAL/ and PNEUMONIA/ in itself, or in train/, val/ and test/), a table, or both.

    A table beside a folder is one more split, of its own name.

    Raises:
        WrongInput: neither is given, or one of them is not a data set.
    """
    images: list[Listed] = []
    ignored: list[tuple[str, str]] = []
    sets = []
    if data is not None:
        sets.append(data.resolve().name)
        for split, folder in _splits(data):
            images += [Listed(each, split, _name(each.path, data)) for each in list_folders(folder)]
        ignored = list(_ignored(data, {each.radiograph.path for each in images}))
    if table is not None:
        sets.append(table.name)
        split = table.stem if data is not None else WHOLE
        images += [Listed(each, split, _name(each.path, table.parent)) for each in list_table(table)]
    if not images:
        raise WrongInput("Give a folder that holds NORMAL and PNEUMONIA, or a table with --table, or both.")
    return Inventory(tuple(sets), images, ignored)


def _splits(data: Path) -> list[tuple[str, Path]]:
    found = [(name, data / name) for name in SPLITS if (data / name).is_dir()]
    if not found or any((data / name).is_dir() for name in _CLASSES):
        found.append((WHOLE, data))
    return found


def _ignored(data: Path, read: set[Path]) -> Iterator[tuple[str, str]]:
    """What lies in the classes' folders and is not read by `list_folders`."""
    for _, folder in _splits(data):
        for path in sorted(path for name in _CLASSES for path in (folder / name).iterdir()):
            if path not in read:
                reason = "a folder in a class's folder" if path.is_dir() else "not named .jpeg, .jpg or .png"
                yield _name(path, data), reason


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
