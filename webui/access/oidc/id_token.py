"""The check of an ID token (OpenID Connect Core 1.0, section 3.1.3.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import (
    BadSignatureError,
    ClaimError,
    ExpiredTokenError,
    InvalidKeyIdError,
    JoseError,
    UnsupportedAlgorithmError,
)
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from webui.access.oidc.faults import Fault, SignInFailed

# Clocks of two machines in one hospital may differ by this.
_LEEWAY_S = 60
_OF_CLAIMS = {
    "iss": Fault.ISSUER,
    "aud": Fault.AUDIENCE,
    "azp": Fault.AUDIENCE,
    "nonce": Fault.NONCE,
    "exp": Fault.EXPIRED,
    "iat": Fault.EXPIRED,
    "nbf": Fault.EXPIRED,
}


@dataclass(frozen=True)
class Expected:
    """What an ID token must say: who made it, for which client, for which sign-in, signed how."""

    issuer: str
    client_id: str
    nonce: str
    algorithms: Sequence[str]


class UnknownKey(Exception):  # noqa: N818 - the provider may have new keys
    """No key of the set made the signature."""


def claims(id_token: str, keys: KeySet, expected: Expected, access_token: object) -> dict[str, Any]:
    """Return the claims of an ID token that is signed, valid now, and meant for this sign-in.

    Raises:
        UnknownKey: none of the keys made the signature.
        SignInFailed: anything else is wrong.
    """
    token = _signed(id_token, keys, expected.algorithms)
    options: dict[str, Any] = {
        "iss": {"essential": True, "value": expected.issuer},
        "aud": {"essential": True, "value": expected.client_id},
        "sub": {"essential": True},
        "nonce": {"essential": True, "value": expected.nonce},
    }
    params = {"nonce": expected.nonce, "client_id": expected.client_id, "access_token": access_token}
    checked = CodeIDToken(token.claims, token.header, options, params)
    try:
        checked.validate(leeway=_LEEWAY_S)
    except ExpiredTokenError:
        raise SignInFailed(Fault.EXPIRED) from None
    except ClaimError as error:
        raise SignInFailed(_OF_CLAIMS.get(str(error.claim), Fault.ANSWER)) from None
    except (JoseError, TypeError, ValueError):
        raise SignInFailed(Fault.ANSWER) from None
    return dict(checked)


def _signed(id_token: str, keys: KeySet, algorithms: Sequence[str]) -> jwt.Token:
    registry = JWSRegistry(algorithms=list(algorithms), strict_check_header=False)
    try:
        return jwt.decode(id_token, keys, registry=registry)
    except UnsupportedAlgorithmError:
        raise SignInFailed(Fault.ALGORITHM) from None
    except (BadSignatureError, InvalidKeyIdError):
        raise UnknownKey from None
    except (JoseError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        raise SignInFailed(Fault.ANSWER) from None
