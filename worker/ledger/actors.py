"""Who did something: the `actor` of an event of the audit trail. It holds ids, never what somebody typed.

Events of version 0.2.0 and earlier also have the actor `command line`.
"""

from __future__ import annotations

import os

PROGRAM = "nightread"
ANONYMOUS = "anonymous"
_PEER = "ae:"


def user(user_id: int) -> str:
    """Return the actor of a person who signed in."""
    return f"user:{user_id}"


def user_id(actor: str) -> int | None:
    """Return the id in the actor of a person who signed in; None for another actor."""
    number = actor.removeprefix("user:")
    return int(number) if number != actor and number.isdecimal() else None


def token(token_id: int) -> str:
    """Return the actor of a program that used an API token."""
    return f"token:{token_id}"


def token_id(actor: str) -> int | None:
    """Return the id in the actor of a program that used an API token; None for another actor."""
    number = actor.removeprefix("token:")
    return int(number) if number != actor and number.isdecimal() else None


def peer(ae_title: str) -> str:
    """Return who sent a DICOM object, for its receipt. Administrators choose AE titles, so no event holds one."""
    return f"{_PEER}{ae_title}"


def of_sender(received_by: str | None) -> str:
    """Return the actor of the event that a file arrived: whoever sent it, or the program."""
    return PROGRAM if received_by is None or received_by.startswith(_PEER) else received_by


def operating_system_user() -> str:
    """Return the actor of whoever runs a command of this machine: `os:` and their number."""
    return f"os:{os.getuid()}"
