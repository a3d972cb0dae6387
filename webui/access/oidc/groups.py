"""The roles that a person's groups give."""

from __future__ import annotations

from collections.abc import Collection

from worker.config import Settings
from worker.ledger.roles import Role


def roles(settings: Settings, groups: Collection[str]) -> frozenset[Role]:
    """Return the roles of somebody in these groups; empty: no access. Groups are compared exactly."""
    return frozenset(Role(role) for group, role in settings.roles_of_groups if group in groups)
