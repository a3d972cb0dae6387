"""What a person or a token may do: roles and scopes. `webui.access.permissions` says what each allows."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


class Role(StrEnum):
    """A role of a person. A person may have several."""

    VIEWER = "viewer"
    READER = "reader"
    ADJUDICATOR = "adjudicator"
    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"


class Scope(StrEnum):
    """A scope of an API token. A token may have several."""

    IMAGES_READ = "images:read"
    IMAGES_WRITE = "images:write"
    RETRY = "retry"
    ORIGINALS_READ = "originals:read"
    REPORTS_READ = "reports:read"
    AUDIT_READ = "audit:read"
    METRICS = "metrics"


# The scopes that the owner of a token may give it. A test compares them with `webui.access.permissions`.
_SCOPES: dict[Role, frozenset[Scope]] = {
    Role.VIEWER: frozenset({Scope.IMAGES_READ, Scope.REPORTS_READ}),
    Role.READER: frozenset({Scope.IMAGES_READ, Scope.IMAGES_WRITE, Scope.RETRY, Scope.REPORTS_READ}),
    Role.ADJUDICATOR: frozenset(
        {Scope.IMAGES_READ, Scope.IMAGES_WRITE, Scope.RETRY, Scope.ORIGINALS_READ, Scope.REPORTS_READ}
    ),
    Role.ADMINISTRATOR: frozenset({Scope.METRICS}),
    Role.AUDITOR: frozenset({Scope.REPORTS_READ, Scope.AUDIT_READ, Scope.METRICS}),
}


def roles_text(roles: Collection[Role]) -> str:
    """Return roles as the column `user.roles` holds them: sorted names, separated by commas."""
    return ",".join(sorted(roles))


def roles_of(text: str) -> frozenset[Role]:
    """Return the roles in a column `user.roles`."""
    return frozenset(Role(name) for name in text.split(",") if name)


def scopes_text(scopes: Collection[Scope]) -> str:
    """Return scopes as the column `api_token.scopes` holds them: sorted names, separated by commas."""
    return ",".join(sorted(scopes))


def scopes_in(text: str) -> frozenset[Scope]:
    """Return the scopes in a column `api_token.scopes`."""
    return frozenset(Scope(name) for name in text.split(",") if name)


def scopes_of(roles: Collection[Role]) -> frozenset[Scope]:
    """Return the scopes that the tokens of a person with these roles may have."""
    return frozenset[Scope]().union(*(_SCOPES[role] for role in roles))
