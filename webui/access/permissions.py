"""What each role of a person and each scope of a token allows.

Every URL rule declares its permission with `needs`, or `everyone`. `webui.access.guard` refuses what is not allowed,
and does not let the application start with a rule that declares nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import TypeVar

from worker.ledger.roles import Role, Scope

_View = TypeVar("_View", bound=Callable[..., object])
_DECLARATION = "nightread_permission"


class Permission(StrEnum):
    """What a request may need."""

    # Nothing: sign-in, static files, whether the process works.
    EVERYONE = "everyone"
    # To be signed in, with any role: one's own account, and signing out.
    SIGNED_IN = "signed_in"
    IMAGES = "images"
    UPLOAD = "upload"
    READ = "read"
    RETRY = "retry"
    ADJUDICATE = "adjudicate"
    ORIGINALS = "originals"
    REPORTS = "reports"
    MODELS = "models"
    MANAGE = "manage"
    AUDIT = "audit"
    TROUBLES = "troubles"
    METRICS = "metrics"


_OF_ROLES: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.IMAGES, Permission.REPORTS, Permission.MODELS}),
    Role.READER: frozenset(
        {
            Permission.IMAGES,
            Permission.UPLOAD,
            Permission.READ,
            Permission.RETRY,
            Permission.REPORTS,
            Permission.MODELS,
            Permission.TROUBLES,
        }
    ),
    Role.ADJUDICATOR: frozenset(
        {
            Permission.IMAGES,
            Permission.UPLOAD,
            Permission.READ,
            Permission.RETRY,
            Permission.ADJUDICATE,
            Permission.ORIGINALS,
            Permission.REPORTS,
            Permission.MODELS,
            Permission.TROUBLES,
        }
    ),
    Role.ADMINISTRATOR: frozenset(
        {Permission.MODELS, Permission.MANAGE, Permission.TROUBLES, Permission.METRICS}
    ),
    Role.AUDITOR: frozenset(
        {
            Permission.REPORTS,
            Permission.MODELS,
            Permission.AUDIT,
            Permission.TROUBLES,
            Permission.METRICS,
        }
    ),
}
_OF_SCOPES: dict[Scope, frozenset[Permission]] = {
    Scope.IMAGES_READ: frozenset({Permission.IMAGES, Permission.MODELS}),
    Scope.IMAGES_WRITE: frozenset({Permission.UPLOAD}),
    Scope.RETRY: frozenset({Permission.RETRY}),
    Scope.ORIGINALS_READ: frozenset({Permission.ORIGINALS}),
    Scope.REPORTS_READ: frozenset({Permission.REPORTS}),
    Scope.AUDIT_READ: frozenset({Permission.AUDIT}),
    Scope.METRICS: frozenset({Permission.TROUBLES, Permission.METRICS}),
}


def of_roles(roles: Collection[Role]) -> frozenset[Permission]:
    """Return what a person with these roles may do after signing in."""
    return frozenset({Permission.EVERYONE, Permission.SIGNED_IN}).union(*(_OF_ROLES[role] for role in roles))


def of_scopes(scopes: Collection[Scope]) -> frozenset[Permission]:
    """Return what a program with a token of these scopes may do."""
    return frozenset({Permission.EVERYONE}).union(*(_OF_SCOPES[scope] for scope in scopes))


def scope_of(permission: Permission) -> Scope | None:
    """Return the scope that a token needs for a permission; None if no token, or every token, allows it."""
    scopes = [scope for scope, allowed in _OF_SCOPES.items() if permission in allowed]
    return scopes[0] if scopes else None


def needs(permission: Permission) -> Callable[[_View], _View]:
    """Declare the permission that a view function needs. Stands below the decorator of the route."""

    def declare(view: _View) -> _View:
        setattr(view, _DECLARATION, permission)
        return view

    return declare


def declared(view: Callable[..., object]) -> Permission | None:
    """Return the permission that a view function declares."""
    permission: Permission | None = getattr(view, _DECLARATION, None)
    return permission
