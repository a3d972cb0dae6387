"""`nightread users` and `nightread tokens`: who may come in, and which programs act for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from worker.cli_support import ID, Values, check_line, fail, json_text, open_ledger, start
from worker.ledger.roles import Role, Scope

_ROLES = click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=Values(Role),
    help="A role. Give the option several times for several roles.",
)
_NAME = click.argument("name", type=check_line)


@click.group()
def users() -> None:
    """Say who may come in, and with which roles."""


@users.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_users(as_json: bool) -> None:
    """List everybody with their roles."""
    from worker.commands import users as people

    documents = people.documents(start("users"))
    click.echo(json_text(documents) if as_json else people.as_text(documents))


@users.command()
@_NAME
@_ROLES
def add(name: str, roles: tuple[Role, ...]) -> None:
    """Add a person, and print a link that signs them in once."""
    from worker.commands import users as people

    with _failing():
        click.echo(people.add(start("users"), name, roles))


@users.command()
@_NAME
def link(name: str) -> None:
    """Print a new link that signs a person in once, within a day."""
    from worker.commands import users as people

    with _failing():
        click.echo(people.link(start("users"), name))


@users.command()
@_NAME
def reset(name: str) -> None:
    """Remove a person's passphrase, second factors, sessions and tokens, and print a new link."""
    from worker.commands import users as people

    with _failing():
        click.echo(people.reset(start("users"), name))


@users.command()
@_NAME
def passphrase(name: str) -> None:
    """Set a person's passphrase. It is asked for twice, or read from one line of the standard input."""
    from worker.commands import users as people

    settings = start("users")
    with _failing():
        people.set_passphrase(settings, name, _typed_passphrase())


def _typed_passphrase() -> str:
    if sys.stdin.isatty():
        return str(
            click.prompt("New passphrase", hide_input=True, confirmation_prompt="The same again", err=True)
        )
    line = sys.stdin.buffer.readline()
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        fail("The passphrase on the standard input is not UTF-8 text. Nothing was changed.")


@users.command(name="roles")
@_NAME
@_ROLES
def set_roles(name: str, roles: tuple[Role, ...]) -> None:
    """Give a person these roles, and no other."""
    from worker.commands import users as people

    with _failing():
        people.set_roles(start("users"), name, roles)


@users.command()
@_NAME
def disable(name: str) -> None:
    """Keep a person out, and end their sessions and tokens."""
    from worker.commands import users as people

    with _failing():
        people.disable(start("users"), name)


@users.command()
@_NAME
def enable(name: str) -> None:
    """Let a disabled person in again."""
    from worker.commands import users as people

    with _failing():
        people.enable(start("users"), name)


@click.group()
def tokens() -> None:
    """Make, list and revoke API tokens, with which programs act for a person."""


@tokens.command(name="add")
@_NAME
@click.option(
    "--owner",
    type=check_line,
    required=True,
    metavar="PERSON",
    help="Name of the person for whom the program will act.",
)
@click.option(
    "--scope",
    "scopes",
    type=Values(Scope),
    multiple=True,
    required=True,
    help="What the token allows. Give the option several times for several scopes.",
)
@click.option("--days", type=int, default=90, help="Days until the token expires, at most 365. Default: 90.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def add_token(name: str, owner: str, scopes: tuple[Scope, ...], days: int, as_json: bool) -> None:
    """Make a token and print its key on stdout. The key is shown only now."""
    from worker.commands import tokens as commands

    with _failing():
        document = commands.add(
            open_ledger(start("tokens")), owner=owner, name=name, scopes=scopes, days=days
        )
    click.echo(json_text(document) if as_json else document["key"])
    click.echo(commands.advice(document), err=True)


@tokens.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_tokens(as_json: bool) -> None:
    """List all tokens, the newest first."""
    from worker.commands import tokens as commands

    documents = commands.listed(open_ledger(start("tokens")))
    click.echo(json_text(documents) if as_json else commands.as_text(documents))


@tokens.command(name="revoke")
@click.argument("token_ids", nargs=-1, required=True, type=ID, metavar="ID...")
def revoke_tokens(token_ids: tuple[int, ...]) -> None:
    """End tokens at once. Exit code 1 if there is no such token."""
    from worker.commands import tokens as commands

    errors = commands.revoke(open_ledger(start("tokens")), token_ids)
    for error in errors:
        click.echo(error, err=True)
    sys.exit(1 if errors else 0)


@contextmanager
def _failing() -> Iterator[None]:
    """Print why a person or a token cannot be found, added or changed, and exit with 1."""
    from worker.ledger.tokens import TokenRefused
    from worker.ledger.users import UserRefused

    try:
        yield
    except (LookupError, UserRefused, TokenRefused) as error:
        sentence = str(error.args[0])
        fail(f"{sentence[:1].upper()}{sentence[1:]}.")
