"""The scopes of tokens, as the ledger limits them, agree with the permissions of the web interface."""

from __future__ import annotations

from itertools import chain, combinations

import pytest

from webui.access.permissions import Permission, of_roles, of_scopes
from worker.ledger.roles import Role, Scope, scopes_of

EVERY_COMBINATION = list(chain.from_iterable(combinations(Role, count) for count in range(len(Role) + 1)))
# No token may read, adjudicate, or change people, tokens, models and settings.
NEVER = {Permission.SIGNED_IN, Permission.READ, Permission.ADJUDICATE, Permission.MANAGE}


@pytest.mark.parametrize("roles", EVERY_COMBINATION, ids="+".join)
def test_owner_may_give_exactly_the_scopes_of_their_own_permissions(roles: tuple[Role, ...]) -> None:
    assert scopes_of(roles) == {scope for scope in Scope if of_scopes([scope]) <= of_roles(roles)}


@pytest.mark.parametrize("permission", Permission)
def test_permission_needs_one_scope_or_none_at_all(permission: Permission) -> None:
    scopes = [scope for scope in Scope if permission in of_scopes([scope])]
    assert len(scopes) == (0 if permission in NEVER else 7 if permission is Permission.EVERYONE else 1)
