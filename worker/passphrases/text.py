"""The text of a passphrase: its length, and the forms in which it is hashed and compared."""

from __future__ import annotations

import unicodedata

# NIST SP 800-63B-4 asks for at least 15 characters where a passphrase is all that is asked for, and for 64 or more
# to be allowed. A character is a code point.
SHORTEST = 15
LONGEST = 200


def normalised(text: str) -> str:
    """Return a text in the form NFKC (NIST SP 800-63B, section 5.1.1.2; UAX #15, section 12.1).

    The same keys then give the same characters on every system.
    """
    return unicodedata.normalize("NFKC", text)


def folded(text: str) -> str:
    """Return a text without the differences that an attacker tries, too: normalised, in lower case."""
    return normalised(normalised(text).casefold())
