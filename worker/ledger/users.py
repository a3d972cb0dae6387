"""People: their names, their roles, and whether they may come in."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from worker.ledger import actors, audit
from worker.ledger.roles import Role, roles_of, roles_text
from worker.ledger.seals import new_salt, seal
from worker.ledger.tables import ApiToken, Passkey, ProviderIdentity, User

# The name of a person who has not entered one. Only the first administrator starts without.
UNNAMED = "(unnamed)"
_LONGEST_NAME = 100


class UserRefused(ValueError):  # noqa: N818 - an outcome with a sentence for people
    """A person cannot be added or changed as asked; the message says why."""


def checked_name(name: str) -> str:
    """Return a person's name with single spaces. Raises UserRefused if it is not valid.

    Nightread writes names in parentheses itself, for people without a name and for erased names.
    """
    name = " ".join(name.replace("\x00", "").split())
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or name.startswith("("):
        raise UserRefused(
            f"a name of 1 to {_LONGEST_NAME} printable characters is needed, and it must not begin with a parenthesis"
        )
    return name


def find(session: Session, name: str) -> User:
    """Return the person of this name. Raises LookupError with a sentence if there is none."""
    user = session.scalars(select(User).where(User.name == " ".join(name.split()))).one_or_none()
    if user is None:
        raise LookupError(f"there is no person with the name {name!r}")
    return user


def find_any_case(session: Session, name: str) -> User | None:
    """Return the person of this name, in upper or lower case; None if there is none or if several fit."""
    name = " ".join(name.replace("\x00", "").split())
    exact = session.scalars(select(User).where(User.name == name)).one_or_none()
    if exact is not None:
        return exact
    fitting = _ids_in_any_case(session, name)
    return session.get(User, fitting[0]) if len(fitting) == 1 else None


def everybody(session: Session) -> list[User]:
    """Return all people, in the order of their names."""
    return sorted(session.scalars(select(User)), key=lambda user: (user.name.lower(), user.id))


def names_of(session: Session, who: Iterable[str | None]) -> dict[str, str]:
    """Return the name of each person among actors, and of each token and its owner, by actor. Leave out others."""
    known = [actor for actor in who if actor]
    user_ids = {actors.user_id(actor) for actor in known} - {None}
    token_ids = {actors.token_id(actor) for actor in known} - {None}
    people = session.scalars(select(User).where(User.id.in_(user_ids)))
    tokens = select(ApiToken).where(ApiToken.id.in_(token_ids)).options(joinedload(ApiToken.owner))
    names = {actors.user(user.id): user.name for user in people}
    if token_ids:
        names |= {actors.token(row.id): f"{row.owner.name} ({row.name})" for row in session.scalars(tokens)}
    return names


def enabled_with(session: Session, role: Role) -> list[User]:
    """Return the people who have a role and are not disabled, the first one first."""
    people = session.scalars(select(User).where(User.disabled_at.is_(None)).order_by(User.id))
    return [user for user in people if role in roles_of(user.roles)]


def an_administrator_can_sign_in(session: Session) -> bool:
    """Return whether an administrator can sign in without a link: with a passphrase or a passkey."""
    with_passkey = set(session.scalars(select(Passkey.user_id).where(Passkey.removed_at.is_(None))))
    return any(
        user.passphrase_hash or user.id in with_passkey for user in enabled_with(session, Role.ADMINISTRATOR)
    )


def add(session: Session, name: str, roles: Collection[Role], *, actor: str, at: datetime) -> User:
    """Add a person.

    Raises:
        UserRefused: the name is not valid or taken, or there is no role.
    """
    if not roles:
        raise UserRefused("a person needs a role")
    return _add(session, _free_name(session, name), roles, actor, at)


def first_administrator(session: Session, at: datetime) -> User | None:
    """Return the first administrator, added without a name and as a reader, too, if there never was one.

    Return None if people have disabled that account or taken its role, and no administrator is left: nobody may undo that
    by a start of the program.
    """
    audit.lock(session)
    known = enabled_with(session, Role.ADMINISTRATOR)
    if known:
        return known[0]
    if session.scalar(select(User.id).where(User.name == UNNAMED)) is not None:
        return None
    return _add(session, UNNAMED, {Role.ADMINISTRATOR, Role.READER}, actors.PROGRAM, at)


def rename(session: Session, user: User, name: str, *, actor: str, at: datetime) -> None:
    """Give a person another name. Raises UserRefused if it is not valid or somebody else has it."""
    audit.lock(session)
    name = checked_name(name)
    if name == user.name:
        return
    user.name, user.salt = _free_name(session, name, user.id), new_salt()
    _record(session, "user_named", user, actor, at, name_seal=seal(user.salt, user.name))


def set_roles(session: Session, user: User, roles: Collection[Role], *, actor: str, at: datetime) -> None:
    """Give a person exactly these roles. Raises UserRefused if there is none, or no administrator would be left."""
    audit.lock(session)
    if not roles:
        raise UserRefused("a person needs a role; disable somebody who may not come in any more")
    if roles_text(roles) == user.roles:
        return
    if user.id in of_service(session):
        raise UserRefused(
            "this person's roles come from the hospital's sign-in service; change their groups there"
        )
    if Role.ADMINISTRATOR not in roles:
        _check_another_administrator(session, user)
    _set_roles(session, user, roles, actor, at)


def take_over_roles(session: Session, user: User, roles: Collection[Role], *, at: datetime) -> None:
    """Give a person exactly the roles that the hospital's sign-in service gives them, even if that is none.

    The service decides: an administrator who left their group there is none here, even if nobody else is one.
    """
    audit.lock(session)
    _set_roles(session, user, roles, actors.PROGRAM, at)


def of_service(session: Session) -> set[int]:
    """Return the ids of the people who sign in through the hospital's sign-in service."""
    return set(session.scalars(select(ProviderIdentity.user_id)))


def disable(session: Session, user: User, *, actor: str, at: datetime) -> None:
    """Keep a person out. Raises UserRefused if no administrator would be left.

    Sessions and links of a disabled person are refused: see `worker.ledger.sign_ins`.
    """
    audit.lock(session)
    if user.disabled_at is None:
        _check_another_administrator(session, user)
        user.disabled_at = at
        _record(session, "user_disabled", user, actor, at)


def enable(session: Session, user: User, *, actor: str, at: datetime) -> None:
    """Let a disabled person in again."""
    audit.lock(session)
    if user.disabled_at is not None:
        user.disabled_at = None
        _record(session, "user_enabled", user, actor, at)


def _check_another_administrator(session: Session, user: User) -> None:
    administrators = enabled_with(session, Role.ADMINISTRATOR)
    if administrators == [user]:
        raise UserRefused("this is the only administrator; make somebody else administrator first")


def _set_roles(session: Session, user: User, roles: Collection[Role], actor: str, at: datetime) -> None:
    if roles_text(roles) != user.roles:
        user.roles = roles_text(roles)
        _record(session, "user_roles_set", user, actor, at, roles=user.roles)


def is_free(session: Session, name: str, own_id: int | None = None) -> bool:
    """Return whether nobody, or only the person with `own_id`, has a name, in upper or lower case."""
    return set(_ids_in_any_case(session, name)) <= {own_id}


def _ids_in_any_case(session: Session, name: str) -> list[int]:
    """Return the ids of the people of a name, in upper or lower case. SQLite's lower() changes ASCII letters only."""
    rows = session.execute(select(User.id, User.name).order_by(User.id))
    return [user_id for user_id, known in rows if known.lower() == name.lower()]


def _free_name(session: Session, name: str, own_id: int | None = None) -> str:
    audit.lock(session)
    name = checked_name(name)
    if not is_free(session, name, own_id):
        raise UserRefused("somebody has this name already")
    return name


def _add(session: Session, name: str, roles: Collection[Role], actor: str, at: datetime) -> User:
    salt = new_salt()
    user = User(name=name, salt=salt, created_at=at, roles=roles_text(roles))
    session.add(user)
    session.flush()
    _record(session, "user_added", user, actor, at, name_seal=seal(salt, name), roles=user.roles)
    return user


def _record(session: Session, kind: str, user: User, actor: str, at: datetime, **details: str | None) -> None:
    session.flush()
    audit.append(session, [audit.Event(kind, actor, f"user:{user.id}", details)], at)
