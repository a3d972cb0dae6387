"""The images to evaluate, from a folder or a table, with helpful errors."""

from __future__ import annotations

import shlex
from pathlib import Path

from training.data.radiographs import Radiograph, list_folders, list_table
from training.errors import WrongInput

_CLASSES = ("NORMAL", "PNEUMONIA")
# Kaggle's folders in the order in which they are suggested, before all others.
_SPLITS = ("test", "val", "train")


def list_images(data: Path | None, table: Path | None) -> list[Radiograph]:
    """List the images of a folder or of a table.

    Raises:
        WrongInput: neither or both are given, or it is not a valid folder or table.
    """
    if data is not None and table is None:
        return _list_folder(data)
    if table is not None and data is None:
        return list_table(table)
    raise WrongInput("Give either --data or --table.")


def _list_folder(root: Path) -> list[Radiograph]:
    if not root.is_dir():
        raise WrongInput(f"There is no folder {root}; --data needs one that holds NORMAL and PNEUMONIA.")
    missing = [name for name in _CLASSES if not (root / name).is_dir()]
    if not missing:
        return list_folders(root)
    lacks = " and ".join(f"no folder {name}" for name in missing)
    fitting = sorted(filter(_is_set, _candidates(root)), key=_preference)
    if not fitting:
        raise WrongInput(f"{root} has {lacks}; --data needs a folder that holds NORMAL and PNEUMONIA.")
    others = f" (also {', '.join(path.name for path in fitting[1:])})" if fitting[1:] else ""
    raise WrongInput(
        f"{root} has {lacks}, but {fitting[0].name} has both: "
        f"use --data {shlex.quote(str(fitting[0]))}{others}."
    )


def _candidates(root: Path) -> list[Path]:
    """Return folders that could be meant: one and two levels below, and the parent of a class folder."""
    inner = [path for path in root.iterdir() if path.is_dir()]
    deeper = [path for folder in inner for path in folder.iterdir() if path.is_dir()]
    return [*inner, *deeper, *([root.parent] if root.name in _CLASSES else [])]


def _is_set(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in _CLASSES)


def _preference(folder: Path) -> tuple[int, str]:
    place = _SPLITS.index(folder.name) if folder.name in _SPLITS else len(_SPLITS)
    return place, str(folder)
