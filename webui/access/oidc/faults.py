"""What can go wrong when somebody signs in through the provider: a sentence and an HTTP status for each."""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """A reason why a sign-in failed. Its name goes into the audit trail and the log, its sentence to the browser."""

    STATE = (
        400,
        (
            "This sign-in did not begin in this browser, has ended already, or took longer than ten minutes. "
            "Nobody was signed in. Sign in again."
        ),
    )
    REFUSED = 400, "Your hospital's sign-in service did not sign you in. Sign in again."
    CODE = (
        400,
        (
            "Your hospital's sign-in service does not accept this sign-in any more. Nobody was signed in. Sign in again."
        ),
    )
    NONCE = (
        400,
        (
            "The answer of your hospital's sign-in service belongs to another sign-in. Nobody was signed in. "
            "Sign in again."
        ),
    )
    NO_ROLE = (
        403,
        (
            "Your hospital's sign-in service knows you, but none of your groups gives a role in Nightread. "
            "Ask the people who manage your hospital's accounts."
        ),
    )
    DISABLED = 403, "Your account in Nightread is disabled. Ask an administrator of Nightread."
    CLIENT = (
        502,
        (
            "Your hospital's sign-in service does not accept Nightread. Nobody was signed in. An administrator has to "
            "look at NIGHTREAD_OIDC_CLIENT_ID, NIGHTREAD_OIDC_CLIENT_SECRET and the redirect URI at the service."
        ),
    )
    ANSWER = (
        502,
        (
            "Your hospital's sign-in service gave an answer that Nightread cannot use. Nobody was signed in. "
            "An administrator has to look at NIGHTREAD_OIDC_ISSUER and the service."
        ),
    )
    ISSUER = (
        502,
        (
            "The answer came from another sign-in service than the one in NIGHTREAD_OIDC_ISSUER. Nobody was signed in."
        ),
    )
    AUDIENCE = (
        502,
        (
            "The answer of your hospital's sign-in service was meant for another program. Nobody was signed in."
        ),
    )
    EXPIRED = (
        502,
        (
            "The answer of your hospital's sign-in service is too old, or its clock and the clock of this machine "
            "differ. Nobody was signed in. Sign in again."
        ),
    )
    ALGORITHM = (
        502,
        (
            "The answer of your hospital's sign-in service has no signature that Nightread trusts. "
            "Nobody was signed in."
        ),
    )
    SIGNATURE = 502, "The signature of your hospital's sign-in service is wrong. Nobody was signed in."
    AWAY = 503, "Your hospital's sign-in service does not answer. Sign in again in a moment."

    def __init__(self, status: int, sentence: str) -> None:
        """Keep the HTTP status of the response, and the sentence that people read."""
        self.status = status
        self.sentence = sentence

    @property
    def code(self) -> str:
        """The name of the fault as the audit trail and the log have it."""
        return self.name.lower()


class SignInFailed(Exception):  # noqa: N818 - an outcome with a sentence for the person
    """Nobody is signed in, and `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        """Keep the fault."""
        super().__init__(fault.sentence)
        self.fault = fault
