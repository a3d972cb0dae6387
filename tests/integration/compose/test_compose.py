"""docker-compose.yml and the Dockerfile: no service may or sees more than it needs."""

from __future__ import annotations

import re

import pytest

from tests.integration.compose.containers import (
    COMPOSE,
    DOCKERFILE,
    OURS,
    SERVICES,
    environment_of,
    mounts_of,
    secrets_of,
)
from worker.config import Settings
from worker.errors import WrongSettings
from worker.exposure import check_receiver, check_settings

EACH = pytest.mark.parametrize("name", SERVICES)
# The secrets and the mounts of each service. Whatever is added here is one more right.
SECRETS = {
    "migrate": {"owner_url"},
    "web": {"app_url", "broker_url", "phantom_key", "site_key"},
    "watch": {"app_url", "broker_url", "phantom_key", "site_key"},
    "worker": {"app_url", "broker_url"},
    "receive": {"app_url", "broker_url", "phantom_key", "site_key"},
    "checkpoint": {"auditor_url"},
    "postgres": {"postgres_password", "role_passwords.sql"},
    "redis": {"redis.acl"},
}
MOUNTS = {
    "migrate": {},
    "web": {"./data/web": "rw", "./data/store": "rw"},
    "watch": {"./data/inbox": "rw", "./data/store": "rw", "./data/web/incoming": "rw"},
    "worker": {"./data/store": "ro"},
    "receive": {"./data/store": "rw", "./data/web/incoming": "rw"},
    "checkpoint": {"./checkpoints": "rw"},
    "postgres": {"postgres": "rw", "./packaging/postgresql-roles.sql": "ro"},
    "redis": {},
}
NETWORKS = {
    "migrate": {"database"},
    "web": {"front", "database", "broker"},
    "watch": {"database", "broker"},
    "worker": {"database", "broker"},
    "receive": {"front", "database", "broker"},
    "checkpoint": {"database"},
    "postgres": {"database"},
    "redis": {"broker"},
}

# What a person sets when they start the containers.
FROM_OUTSIDE = {
    "NIGHTREAD_ALLOWED_HOSTS",
    "NIGHTREAD_PROXY_HOPS",
    "NIGHTREAD_DICOM_CALLING",
    "NIGHTREAD_DICOM_ADDRESSES",
}
_OF_THE_ADDRESS = {"host", "allow_plain_http", "allowed_hosts", "proxy_hops", "proxy_addresses"}


@EACH
def test_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), "neither root nor its group"
    assert service["logging"]["options"]["max-size"]
    widening = {"cap_add", "privileged", "network_mode", "pid", "ipc", "userns_mode", "devices", "env_file"}
    assert not widening & service.keys()


def test_worker_may_finish_before_it_is_killed() -> None:
    """Whatever a scoring process does, it ends with its lease."""
    grace = SERVICES["worker"]["stop_grace_period"]
    lease_s = float(environment_of("worker").get("NIGHTREAD_LEASE_S", Settings().lease_s))
    assert int(grace.removesuffix("s")) > lease_s


@EACH
def test_service_has_limits(name: str) -> None:
    assert re.fullmatch(r"\d+[mg]", SERVICES[name]["mem_limit"])
    assert 0 < SERVICES[name]["pids_limit"] <= 1024
    assert all("size=" in tmpfs for tmpfs in SERVICES[name]["tmpfs"])


@EACH
def test_service_has_the_secrets_mounts_and_networks_that_it_needs(name: str) -> None:
    files = {path.removeprefix("./secrets/") for path in secrets_of(name).values()}
    mounts = {source: "ro" if read_only else "rw" for source, _, read_only in mounts_of(name)}
    assert (files, mounts, set(SERVICES[name]["networks"])) == (SECRETS[name], MOUNTS[name], NETWORKS[name])


@EACH
def test_no_secret_stands_in_environment_or_command(name: str) -> None:
    service = SERVICES[name]
    for variable, value in environment_of(name).items():
        if re.search("PASSWORD|SECRET|TOKEN|_URL|AUTH", variable):
            assert variable.endswith("_FILE"), variable
            assert value in secrets_of(name)
        if variable.endswith("_KEY"):
            assert value in {*secrets_of(name), "/checkpoints/checkpoint.key"}
    given = str([service.get("command"), service.get("healthcheck"), service.get("environment")])
    assert set(re.findall(r"\$\{(\w+)", given)) <= FROM_OUTSIDE
    assert "://" not in given.replace("http://127.0.0.1", "")


def test_only_the_web_interface_is_published_and_on_this_machine_only() -> None:
    published = [name for name in SERVICES if "ports" in SERVICES[name] and "profiles" not in SERVICES[name]]
    assert published == ["web"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["web"]["ports"])
    inside = [name for name, network in COMPOSE["networks"].items() if network == {"internal": True}]
    assert inside == ["database", "broker"]


def test_receiver_starts_only_on_request_and_with_lists_of_senders() -> None:
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["receive"]
    given = {
        name.removeprefix("NIGHTREAD_").lower(): re.sub(r"\$\{\w+:-(.*)\}", r"\1", value)
        for name, value in environment_of("receive").items()
        if name.startswith("NIGHTREAD_DICOM_")
    }
    settings = Settings(**given)  # type: ignore[arg-type]
    assert SERVICES["receive"]["ports"] == [f"{settings.dicom_port}:{settings.dicom_port}"]
    with pytest.raises(WrongSettings):
        check_receiver(settings)


def test_web_interface_may_listen_in_its_container() -> None:
    given = {
        name.removeprefix("NIGHTREAD_").lower(): re.sub(r"\$\{\w+:-(.*)\}", r"\1", value)
        for name, value in environment_of("web").items()
    }
    settings = Settings(**{name: given[name] for name in given if name in _OF_THE_ADDRESS})  # type: ignore[arg-type]
    assert settings.host == "0.0.0.0"  # noqa: S104 - inside the container
    check_settings(settings)


def test_the_key_is_where_nothing_can_write_to_the_database() -> None:
    (signer,) = (
        name for name in SERVICES if any(target == "/checkpoints" for _, target, _ in mounts_of(name))
    )
    settings = environment_of(signer)
    assert settings["NIGHTREAD_CHECKPOINT_KEY"].startswith("/checkpoints/")
    assert settings["NIGHTREAD_CHECKPOINTS"].startswith("/checkpoints/")
    assert set(secrets_of(signer).values()) == {"./secrets/auditor_url"}
    assert SERVICES[signer]["user"] not in [SERVICES[name]["user"] for name in SERVICES if name != signer]
    assert environment_of("watch")["NIGHTREAD_CHECKPOINT_S"] == "0"


def test_tables_are_upgraded_before_anything_uses_them() -> None:
    for name in set(OURS) - {"migrate"}:
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no"


@pytest.mark.parametrize("name", ["web", "watch", "worker", "receive", "postgres", "redis"])
def test_service_that_answers_is_watched(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_images_have_exact_versions() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 4
    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?-[a-z][a-z\d.-]+$|@sha256:[0-9a-f]{64}$", image), image


def test_image_runs_without_root() -> None:
    last_stage = DOCKERFILE.split("\nFROM ")[-1]
    assert re.findall(r"^USER (\S+)", last_stage, re.MULTILINE) == ["nightread"]
    assert "useradd --uid 10001 " in last_stage
    assert not re.search("^(ADD|VOLUME|EXPOSE)|sudo|chmod", DOCKERFILE, re.MULTILINE)


def test_workers_can_be_scaled() -> None:
    assert not {"container_name", "ports"} & SERVICES["worker"].keys()
