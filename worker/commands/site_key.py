"""`nightread db site-key`: say whether the site key is there, and copy it."""

from __future__ import annotations

from pathlib import Path

from worker.errors import TransientFailure
from worker.intake.site_key import SiteKeys
from worker.keyfile import create_key_file


def state(keys: SiteKeys) -> str:
    """Return a sentence about the site key. Raises SiteKeyLost."""
    keys.check()
    if keys.known() is None:
        return "There is no site key yet. It is made when the first image with a patient ID arrives."
    return f"The site key is in {keys.path}. Keep a copy of it, apart from the backups of the database."


def copy(keys: SiteKeys, target: Path) -> str:
    """Copy the site key, which is made if there is none yet, to a new file that only its owner can read.

    Raises SiteKeyLost, or another TransientFailure: nothing was written.
    """
    if target.exists():
        raise TransientFailure(f"{target} already exists. A copy never overwrites a file")
    if not target.absolute().parent.is_dir():
        raise TransientFailure(f"the folder {target.absolute().parent} does not exist")
    keys.check()
    create_key_file(target, keys.require())
    return f"The site key was copied to {target}. Keep it apart from the backups of the database."
