"""Settings: the only reader of the environment (NIGHTREAD_*) and of nightread.toml."""

from __future__ import annotations

import difflib
import hashlib
import os
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from worker.errors import WrongSettings
from worker.folders import Place, conflicts, is_no_database, wrong_kinds
from worker.keyfile import read_secret
from worker.session_limits import Limits, SessionLimits

ROOT = Path(__file__).resolve().parent.parent
# The path of a UNIX socket holds 108 bytes on Linux and 104 on macOS (sockaddr_un.sun_path).
_SOCKET_PATH_LIMIT = 100
_PREFIX = "NIGHTREAD_"
OIDC_CALLBACK = "/sign-in/provider/callback"
# The values of `worker.ledger.roles.Role`, which settings may not import. A test compares them.
ROLES = ("viewer", "reader", "adjudicator", "administrator", "auditor")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# pydantic's error of a setting whose default depends on another setting, which is not valid.
_NOT_CALLED = "default_factory_not_called"
_YEAR_S = 366 * 86_400.0
# Settings that may hold a password. Each may come from the file that `<name>_file` names.
_SECRETS = ("database_url", "migration_database_url", "broker_url", "oidc_client_secret")
# What to use instead of a setting of an earlier version.
_REMOVED = {
    "allow_remote": "Set NIGHTREAD_ALLOWED_HOSTS, and NIGHTREAD_PROXY_HOPS=1 behind a proxy with TLS or NIGHTREAD_ALLOW_PLAIN_HTTP=true without one.",
    "trusted_proxy": "Set NIGHTREAD_PROXY_HOPS=1 and NIGHTREAD_PROXY_ADDRESSES to the address of the proxy.",
}
_DICOM_FILES = ("dicom_tls_certificate", "dicom_tls_key", "dicom_tls_ca")
_LONGEST_AE_TITLE = 16
_SECRET_FILES = tuple(f"{name}_file" for name in _SECRETS)


def _check_url(value: str, parse: Callable[[str], object]) -> None:
    """Raise a ValueError with our own message: the message of the library may repeat the password."""
    try:
        _ = value and parse(value)
    except (ArgumentError, ValueError):
        raise ValueError("this is not a valid URL") from None


def _default_workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _secret(description: str) -> Any:
    """Return a field for one of `_SECRETS`. Its value is never shown."""
    return Field("", repr=False, validate_default=True, description=description)


def _secret_file(setting: str) -> Any:
    return Field("", description=f"File that holds the value of `{setting}` in one line.")


class Settings(BaseSettings):
    """The settings of a user. Each field is `NIGHTREAD_<NAME>` in the environment.

    Raises pydantic's ValidationError when a value is not valid.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        toml_file="nightread.toml",
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        # A value may hold a password.
        hide_input_in_errors=True,
    )

    data: Path = Field(Path("data"), description="Folder of the inbox, the image store and the SQLite file.")
    inbox: Path = Field(
        default_factory=lambda earlier: earlier.get("data", Path()) / "inbox",
        description="Watched folder; default: `inbox` in the data folder. Nightread never changes its owner, group or mode.",
    )
    database_url_file: str = _secret_file("NIGHTREAD_DATABASE_URL")
    database_url: str = _secret("URL of the database; empty: `nightread.sqlite3` in the data folder.")
    migration_database_url_file: str = _secret_file("NIGHTREAD_MIGRATION_DATABASE_URL")
    migration_database_url: str = _secret(
        "URL of the database for `nightread db upgrade`, with a role that may change tables; empty: `NIGHTREAD_DATABASE_URL`."
    )
    broker_url_file: str = _secret_file("NIGHTREAD_BROKER_URL")
    broker_url: str = _secret("URL of Redis or Valkey; empty: the bundled Valkey.")
    store: str = Field("", description="Folder of the image store; empty: `store` in the data folder.")
    model: Path = Field(ROOT / "models" / "nightread-0.3.0", description="Folder of the model bundle.")
    models: str = Field(
        "",
        description="Folder of further model bundles, which a person may make active; empty: `models` in the data folder.",
    )
    model_sha256: str = Field(
        "",
        pattern="^([0-9a-f]{64})?$",
        description="SHA-256 of the only model that may score, as the Models page shows it; empty: any model.",
    )
    runtime: Literal["litert", "tensorflow"] = Field(
        "litert", description="`litert`, or `tensorflow` to score with the float reference `model.keras`."
    )
    operating_point: str = Field(
        "",
        description="Name of an operating point of the model, for a site that has put none in force; empty: the model's default.",
    )
    outside_population: Literal["score", "reject"] = Field(
        "score",
        description="What happens to an image of a patient outside the model's population: `score` it, but never as *clear*, or `reject` it.",
    )
    unknown_age: Literal["say", "outside", "reject"] = Field(
        "say",
        description="What happens to an image of a patient of unknown age: `say` so and score it like any other, treat it as `outside` the population, or `reject` it.",
    )
    host: str = Field(
        "127.0.0.1",
        description="Address that the web interface binds to; `::` stands for every address, IPv4 and IPv6.",
    )
    port: int = Field(8000, ge=1, le=65535, description="Port of the web interface.")
    allow_plain_http: bool = Field(
        False,
        description="Let the web interface bind to an address that other machines can reach without a proxy with TLS in front. Whoever can read the traffic can then take over sessions.",
    )
    allowed_hosts: str = Field(
        "",
        description="Further host names under which the web interface answers, separated by commas.",
    )
    proxy_hops: int = Field(
        0,
        ge=0,
        le=10,
        description="Number of proxies between a client and the web interface; 0: X-Forwarded headers are ignored.",
    )
    proxy_addresses: str = Field(
        "127.0.0.1, ::1",
        validate_default=True,
        description="Addresses or networks of the nearest proxies, separated by commas. Only their X-Forwarded headers are believed, and if NIGHTREAD_PROXY_HOPS is not 0, only they and this machine get an answer.",
    )
    oidc_client_id: str = Field("", description="Name under which the sign-in service knows Nightread.")
    oidc_client_secret_file: str = _secret_file("NIGHTREAD_OIDC_CLIENT_SECRET")
    oidc_client_secret: str = _secret(
        "Password with which Nightread identifies itself to the sign-in service."
    )
    oidc_groups_claim: str = Field(
        "groups", min_length=1, description="Claim of the ID token that holds a person's groups."
    )
    oidc_roles: str = Field(
        "",
        description="Role for each group, as `group=role`, separated by commas. A group may be named several times. Whoever is in none of them has no access.",
    )
    oidc_scopes: str = Field(
        "openid profile",
        description="Scopes that Nightread asks for, separated by spaces; some services give groups only for a scope of their own.",
    )
    oidc_redirect_uri: str = Field(
        "",
        description="Address to which the sign-in service sends the browser back. It ends in `/sign-in/provider/callback`; empty: made from the name under which the page was opened.",
    )
    oidc_ca_file: str = Field(
        "",
        description="File with the certificates of the authorities that the sign-in service's certificate may come from; empty: the public ones.",
    )
    oidc_label: str = Field(
        "Sign in with your hospital account",
        min_length=1,
        max_length=80,
        description="Text of the link to the sign-in service.",
    )
    oidc_issuer: str = Field(
        "",
        max_length=500,
        validate_default=True,
        description="Issuer of the OpenID Connect sign-in service, exactly as its discovery document names it; empty: nobody signs in through a service.",
    )
    dicom_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port on which the receiver takes DICOM objects, usually 11112; 0: `nightread up` starts no receiver.",
    )
    dicom_host: str = Field(
        "127.0.0.1",
        description="Address that the receiver binds to; `::` stands for every address, IPv4 and IPv6.",
    )
    dicom_ae_title: str = Field("NIGHTREAD", description="AE title that senders must call.")
    dicom_calling: str = Field(
        "",
        description="AE titles that may send, separated by commas; empty: any. Needed if other machines can reach the receiver.",
    )
    dicom_addresses: str = Field(
        "",
        description="Addresses or networks that may send, separated by commas; empty: this machine only. Needed if other machines can reach the receiver.",
    )
    dicom_tls_key: str = Field(
        "", description="File of the private key of that certificate, without a password."
    )
    dicom_tls_ca: str = Field(
        "",
        description="File with the certificates of the authorities that must have signed a sender's certificate; empty: a sender needs none.",
    )
    dicom_tls_certificate: str = Field(
        "",
        validate_default=True,
        description="File of the receiver's certificate, with those of its authorities; empty: no TLS.",
    )
    dicom_pdu_bytes: int = Field(
        128 * 1024,
        ge=16 * 1024,
        le=1024**2,
        description="Longest PDU that the receiver takes, in bytes. It says so to senders.",
    )
    dicom_associations: int = Field(
        20, ge=1, le=100, description="Largest number of associations that are open at one time."
    )
    dicom_associations_per_address: int = Field(
        12, ge=1, le=100, description="Largest number of them that one address has."
    )
    dicom_silence_s: float = Field(
        60.0, ge=1, description="Seconds without a PDU after which an association is ended."
    )
    workers: int = Field(
        default_factory=_default_workers,
        ge=1,
        le=256,
        description="Number of scoring processes; default: the number of cores.",
    )
    worker_memory_bytes: int = Field(
        2 * 1024**3,
        ge=256 * 1024**2,
        description="Memory limit of a scoring process, in bytes. An image that needs more is rejected.",
    )
    rendition_memory_bytes: int = Field(
        1024**3,
        ge=256 * 1024**2,
        description="Memory limit, in bytes, of a process that makes the pictures of one image. At most three run at once.",
    )
    rendition_s: float = Field(
        20.0,
        gt=0,
        description="Seconds of processor time that such a process has, and seconds for which a page waits for it.",
    )
    dicom_memory_bytes: int = Field(
        1024**3,
        ge=256 * 1024**2,
        description="Memory limit, in bytes, of the process that decodes DICOM objects; each scoring process has one. An object that needs more is rejected.",
    )
    dicom_s: float = Field(
        10.0,
        gt=0,
        description="Seconds of processor time for decoding a DICOM object. One that needs more is rejected; one that is not ready after three times as long by the clock is tried again.",
    )
    chunk_size: int = Field(32, ge=1, le=512, description="Largest number of images in a task.")
    chunks_in_flight: int = Field(200, ge=1, description="Largest number of tasks in the broker at one time.")
    lease_s: float = Field(
        60.0,
        gt=0,
        description="Seconds that a worker has to score a task. After a third of them it begins no further image and hands the others back; at the end it is killed, and another worker can lease its images.",
    )
    max_attempts: int = Field(
        3, ge=1, description="Number of failed attempts after which an image is quarantined."
    )
    settle_s: float = Field(
        1.0,
        ge=0,
        description="Seconds for which a file's size and times must stay the same before it is read.",
    )
    broken_off_s: float = Field(
        120.0,
        ge=0,
        description="Seconds for which an empty or broken-off file must stay the same before it is rejected, and after which a file that is held open for writing appears in `troubles`.",
    )
    ignore: str = Field(
        "",
        description="Further names of files and folders that are left alone in the inbox: shell patterns, separated by commas.",
    )
    scan_s: float = Field(2.0, ge=0.05, description="Seconds between two scans of the inbox.")
    keep_bytes_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days for which the bytes of an image and its activation map are kept; 0: for ever.",
    )
    keep_renditions_days: int = Field(
        0, ge=0, le=36_500, description="Days for which renditions are kept; 0: for ever."
    )
    keep_names_days: int = Field(
        0, ge=0, le=36_500, description="Days for which names of files and of runs are kept; 0: for ever."
    )
    keep_text_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days for which notes and reasons that a person typed are kept; 0: for ever.",
    )
    keep_sessions_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days for which a session is kept after its last use, and a link after its end; 0: for ever.",
    )
    sweep_s: float = Field(2.0, ge=0.05, description="Seconds between two rounds of the sweeper.")
    requeue_after_s: float = Field(
        10.0,
        gt=0,
        description="Seconds after which a pending image that the broker lost is queued again.",
    )
    heartbeat_s: float = Field(5.0, ge=0.05, description="Seconds between two heartbeats of a process.")
    restart_pause_s: float = Field(
        30.0,
        gt=0,
        description="Longest pause, in seconds, before a process that ended is started again.",
    )
    canary_s: float = Field(
        0.0,
        ge=0,
        description="Seconds between two canaries, which test the whole program with a drawn image; 0: no canaries.",
    )
    checkpoints: str = Field(
        "",
        description="File of the audit trail's signed checkpoints; empty: `checkpoints.jsonl` in the data folder.",
    )
    checkpoint_s: float = Field(
        3600.0,
        ge=0,
        description="Seconds between two signed checkpoints of the audit trail; 0: `nightread watch` signs none.",
    )
    checkpoint_key: str = Field(
        "",
        description="File of the private key that signs checkpoints; empty: `checkpoint.key` in the data folder.",
    )
    checkpoint_command: str = Field(
        "",
        description="Command that copies the file of checkpoints to another machine. `{file}` stands for its path.",
    )
    phantom_key: str = Field(
        "",
        description="File of the key that marks phantoms; empty: `phantom.key` in the data folder.",
    )
    second_factor_roles: str = Field(
        "",
        description="Roles that need a second factor, separated by commas, for example `administrator,adjudicator`. Without one, such a person reaches only the page Account.",
    )
    site_key: str = Field(
        "",
        description="File of the key that makes the pseudonymous keys of patients; empty: `site.key` in the data folder.",
    )
    session_s: float = Field(
        7 * 86_400.0,
        gt=0,
        description="Seconds after which a person must sign in again.",
    )
    session_idle_s: float = Field(
        12 * 3600.0,
        gt=0,
        description="Seconds without a request after which a person must sign in again.",
    )
    admin_session_s: float = Field(
        86_400.0,
        gt=0,
        description="The same as `NIGHTREAD_SESSION_S`, for administrators.",
    )
    admin_session_idle_s: float = Field(
        8 * 3600.0,
        gt=0,
        description="The same as `NIGHTREAD_SESSION_IDLE_S`, for administrators.",
    )
    read_within_s: float = Field(
        0,
        ge=0,
        le=_YEAR_S,
        description="Seconds from the arrival of an image until it should be read. An unread one that waits longer comes first in the reading queue, and says so; 0: no limit.",
    )
    claim_s: float = Field(
        900.0, gt=0, description="Seconds for which a reader's claim on an image is valid."
    )
    max_bytes: int = Field(64 * 1024**2, gt=0, description="Largest file that is accepted, in bytes.")
    max_pixels: int = Field(
        100_000_000, gt=0, le=400_000_000, description="Largest image that is accepted, in pixels."
    )
    min_side: int = Field(
        64, gt=0, description="Least width and height of an image that is accepted, in pixels."
    )
    min_free_bytes: int = Field(
        500_000_000, ge=0, description="Free disk space, in bytes, below which no file is accepted."
    )
    log_format: Literal["text", "json"] = Field("text", description="`text` for people, `json` for programs.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the strongest first: arguments, environment, nightread.toml in the working directory."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @field_validator(*_SECRETS, mode="before")
    @classmethod
    def _read_secret_file(cls, value: object, others: ValidationInfo) -> object:
        file = others.data.get(f"{others.field_name}_file")
        if not file:
            return value
        if value:
            name = f"{_PREFIX}{others.field_name}".upper()
            raise ValueError(f"set only one of {name} and {name}_FILE")
        return read_secret(Path(file))

    @field_validator("data", "inbox", "model", "host", "dicom_host", mode="before")
    @classmethod
    def _refuse_empty(cls, value: object) -> object:
        if value == "":
            raise ValueError("the value is empty; leave the setting out to use its default")
        return value

    @field_validator(
        "data",
        "inbox",
        "model",
        "models",
        "store",
        "checkpoints",
        "checkpoint_key",
        "phantom_key",
        "site_key",
        "oidc_ca_file",
        *_DICOM_FILES,
        *_SECRET_FILES,
    )
    @classmethod
    def _check_characters(cls, value: Path | str) -> Path | str:
        if "\0" in str(value) or _is_undecodable(str(value)):
            raise ValueError("the path must be UTF-8 text without the character NUL")
        return value

    @field_validator("*")
    @classmethod
    def _check_duration(cls, value: object) -> object:
        if isinstance(value, float) and value > _YEAR_S:
            raise ValueError("the time must be at most a year")
        return value

    @field_validator("log_level", "log_format", "runtime", "outside_population", "unknown_age", mode="before")
    @classmethod
    def _ignore_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("host", "dicom_host")
    @classmethod
    def _remove_brackets(cls, value: str) -> str:
        """Accept an IPv6 address as in a URL, and write an address in its shortest form."""
        name = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        try:
            return str(ip_address(name))
        except ValueError:
            return name

    @field_validator("proxy_addresses")
    @classmethod
    def _check_proxies(cls, value: str, others: ValidationInfo) -> str:
        networks = _networks(value)
        if others.data.get("proxy_hops") and not networks:
            raise ValueError("NIGHTREAD_PROXY_HOPS needs the addresses of the proxies")
        if any(network.prefixlen == 0 for network in networks):
            raise ValueError("this would believe every machine; name the addresses of the proxies")
        return value

    @field_validator("dicom_addresses")
    @classmethod
    def _check_senders(cls, value: str) -> str:
        if any(network.prefixlen == 0 for network in _networks(value)):
            raise ValueError("every machine could send; name the addresses or networks of the senders")
        return value

    @field_validator("dicom_ae_title", "dicom_calling")
    @classmethod
    def _check_ae_titles(cls, value: str, field: ValidationInfo) -> str:
        titles = _parts(value) if field.field_name == "dicom_calling" else [value]
        if not all(_is_ae_title(title) for title in titles):
            raise ValueError(
                "an AE title has 1 to 16 characters: ASCII, no backslash, no space at either end"
            )
        return value

    @field_validator("dicom_tls_certificate")
    @classmethod
    def _check_tls_files(cls, value: str, others: ValidationInfo) -> str:
        if value and not others.data.get("dicom_tls_key"):
            raise ValueError("this setting also needs NIGHTREAD_DICOM_TLS_KEY")
        if not value and any(others.data.get(name) for name in ("dicom_tls_key", "dicom_tls_ca")):
            raise ValueError("without it, the other settings of TLS do nothing")
        return value

    @field_validator("oidc_ca_file", *_DICOM_FILES)
    @classmethod
    def _check_ca_file(cls, value: str) -> str:
        if value and not Path(value).is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @field_validator("oidc_client_secret")
    @classmethod
    def _check_client_secret(cls, value: str) -> str:
        # It goes into an HTTP header.
        if not value.isascii() or not value.isprintable():
            raise ValueError("the secret must be printable ASCII text")
        return value

    @field_validator("oidc_roles")
    @classmethod
    def _check_roles_of_groups(cls, value: str) -> str:
        for group, role in _pairs(value):
            if not group or role not in ROLES:
                raise ValueError(f"write group=role, with one of the roles {', '.join(ROLES)}")
        return value

    @field_validator("oidc_scopes")
    @classmethod
    def _check_scopes(cls, value: str) -> str:
        if "openid" not in value.split():
            raise ValueError("the scope openid is missing")
        return value

    @field_validator("oidc_redirect_uri")
    @classmethod
    def _check_redirect_uri(cls, value: str) -> str:
        if value and (not _is_safe_address(value) or urlsplit(value).path != OIDC_CALLBACK):
            raise ValueError(f"this must be https://, the name of the page, and {OIDC_CALLBACK}")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _check_issuer(cls, value: str, others: ValidationInfo) -> str:
        needed = ("oidc_client_id", "oidc_client_secret", "oidc_roles")
        missing = [f"{_PREFIX}{name}".upper() for name in needed if others.data.get(name) == ""]
        if value and missing:
            raise ValueError(f"this setting also needs {' and '.join(missing)}")
        if not value and any(others.data.get(name) for name in needed):
            raise ValueError("without it, the other settings of the sign-in service do nothing")
        if value and not _is_safe_address(value):
            raise ValueError("this must be an https:// URL without a query; http:// only on this machine")
        return value

    @field_validator("second_factor_roles")
    @classmethod
    def _check_roles(cls, value: str) -> str:
        names = [name.strip().lower() for name in value.split(",") if name.strip()]
        unknown = sorted(set(names) - set(ROLES))
        if unknown:
            raise ValueError(f"there is no role {unknown[0]!r}; the roles are {', '.join(ROLES)}")
        return ",".join(names)

    @field_validator("data", "inbox", "model")
    @classmethod
    def _make_absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator(*_SECRET_FILES, "oidc_ca_file", *_DICOM_FILES)
    @classmethod
    def _make_file_absolute(cls, value: str) -> str:
        return str(Path(value).expanduser().absolute()) if value else value

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: str) -> str:
        if "://" in value:
            raise ValueError("the image store must be a folder in this version, not a URL")
        return value

    @field_validator("checkpoint_command")
    @classmethod
    def _check_command(cls, value: str) -> str:
        try:
            shlex.split(value)
        except ValueError as error:
            raise ValueError(f"this is not a command: {error}") from None
        return value

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:", "postgresql:", "postgresql+psycopg:", "postgres:")):
            raise ValueError("this must be a sqlite:/// or postgresql:// URL")
        scheme, separator, rest = value.partition(":")
        if scheme in {"postgres", "postgresql"} and separator:
            value = f"postgresql+psycopg:{rest}"
        _check_url(value, make_url)
        if value.startswith("sqlite") and _is_in_memory(make_url(value)):
            raise ValueError(
                "a database in memory is lost at once; name a file, as in sqlite:////var/lib/x.sqlite3"
            )
        return value

    @field_validator("broker_url")
    @classmethod
    def _check_broker_url(cls, value: str) -> str:
        if value and not value.startswith(("redis:", "rediss:", "redis+socket:")):
            raise ValueError("this must be a redis://, rediss:// or redis+socket:// URL")
        _check_url(value, lambda url: urlsplit(url).port)
        return value

    @property
    def host_names(self) -> list[str]:
        """The names in `allowed_hosts`, in lower case."""
        return [name.lower() for name in _parts(self.allowed_hosts)]

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of the nearest proxies; a network may be one address."""
        return _networks(self.proxy_addresses)

    @property
    def session_limits(self) -> SessionLimits:
        """The limits of the sessions of browsers."""
        return SessionLimits(
            Limits(timedelta(seconds=self.session_s), timedelta(seconds=self.session_idle_s)),
            Limits(timedelta(seconds=self.admin_session_s), timedelta(seconds=self.admin_session_idle_s)),
        )

    @property
    def calling_ae_titles(self) -> list[str]:
        """The AE titles that may send DICOM objects; empty: any."""
        return _parts(self.dicom_calling)

    @property
    def dicom_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks that may send DICOM objects; a network may be one address."""
        return _networks(self.dicom_addresses)

    @property
    def roles_of_groups(self) -> list[tuple[str, str]]:
        """The pairs of a group of the sign-in service and the role that it gives."""
        return list(_pairs(self.oidc_roles))

    @property
    def incoming(self) -> Path:
        """The folder that holds an upload until it is accepted."""
        return self.data / "incoming"

    @property
    def store_path(self) -> Path:
        """Root of the content-addressed image store."""
        return Path(self.store).expanduser().absolute() if self.store else self.data / "store"

    @property
    def models_path(self) -> Path:
        """The folder of further model bundles."""
        return Path(self.models).expanduser().absolute() if self.models else self.data / "models"

    @property
    def checkpoints_path(self) -> Path:
        """The file to which signed checkpoints are appended."""
        chosen = Path(self.checkpoints).expanduser().absolute()
        return chosen if self.checkpoints else self.data / "checkpoints.jsonl"

    @property
    def checkpoint_key_path(self) -> Path:
        """The file of the private key that signs checkpoints."""
        chosen = Path(self.checkpoint_key).expanduser().absolute()
        return chosen if self.checkpoint_key else self.data / "checkpoint.key"

    @property
    def phantom_key_path(self) -> Path:
        """The file of the secret key that marks the phantoms of this installation."""
        chosen = Path(self.phantom_key).expanduser().absolute()
        return chosen if self.phantom_key else self.data / "phantom.key"

    @property
    def site_key_path(self) -> Path:
        """The file of the secret key that makes the keys of patients."""
        chosen = Path(self.site_key).expanduser().absolute()
        return chosen if self.site_key else self.data / "site.key"

    @property
    def database(self) -> str:
        """The ledger's SQLAlchemy URL."""
        file = self.data / "nightread.sqlite3"
        # Rendered by the library, because a path may have any character.
        return self.database_url or URL.create("sqlite", database=str(file)).render_as_string()

    @property
    def database_file(self) -> Path | None:
        """The file of the database; None for PostgreSQL."""
        url = make_url(self.database)
        return Path(url.database).absolute() if url.drivername.startswith("sqlite") and url.database else None

    @property
    def migration_database(self) -> str:
        """The ledger's SQLAlchemy URL for migrations."""
        return self.migration_database_url or self.database

    @property
    def broker_is_bundled(self) -> bool:
        """Whether `nightread up` starts the bundled broker."""
        return not self.broker_url

    @property
    def places(self) -> list[Place]:
        """The folders and files of this installation."""
        places = [
            Place("the data folder", self.data, "NIGHTREAD_DATA", folder=True),
            Place("the inbox", self.inbox, self.setting_of("inbox"), exclusive=True),
            Place("the image store", self.store_path, self.setting_of("store"), exclusive=True),
            Place("the folder of uploads", self.incoming, "NIGHTREAD_DATA", exclusive=True),
            Place("the broker's folder", self.data / "broker", "NIGHTREAD_DATA", exclusive=True),
            Place("the model's folder", self.model, "NIGHTREAD_MODEL", folder=True),
            Place("the folder of models", self.models_path, self.setting_of("models"), folder=True),
            Place("the file of checkpoints", self.checkpoints_path, self.setting_of("checkpoints")),
            Place("the key of checkpoints", self.checkpoint_key_path, self.setting_of("checkpoint_key")),
            Place("the key of phantoms", self.phantom_key_path, self.setting_of("phantom_key")),
            Place("the site key", self.site_key_path, self.setting_of("site_key")),
        ]
        file = self.database_file
        return (
            places
            if file is None
            else [*places, Place("the database", file, self.setting_of("database_url"))]
        )

    def setting_of(self, name: str) -> str:
        """Return the setting that says where a place is: `name`, or the data folder's setting if `name` is left out."""
        if getattr(self, f"{name}_file", ""):
            return f"{_PREFIX}{name}_file".upper()
        chosen = name in self.model_fields_set and getattr(self, name)
        return f"{_PREFIX}{name if chosen else 'data'}".upper()

    @cached_property
    def broker_socket(self) -> Path:
        """The UNIX socket of the bundled broker: in the data folder, or in the temporary folder if that path is too long."""
        socket = self.data / "broker" / "valkey.sock"
        if len(os.fsencode(socket)) <= _SOCKET_PATH_LIMIT:
            return socket
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"nightread-{os.getuid()}-{digest}" / "valkey.sock"

    @property
    def broker(self) -> str:
        """The URL of the broker, as Celery expects it."""
        return self.broker_url or f"redis+socket://{quote(str(self.broker_socket))}"


def read_settings(**overrides: object) -> Settings:
    """Read the settings from the environment and nightread.toml; the keyword arguments override both.

    Raises WrongSettings with one line for each setting that is not valid, for each unknown `NIGHTREAD_*`
    variable, and for each folder that lies in another one wrongly.
    """
    problems = list(_unknown_variables(os.environ))
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]  # validated right here
    except ValidationError as error:
        problems += [_sentence(item) for item in error.errors() if item["type"] != _NOT_CALLED]
        raise WrongSettings("\n".join(problems)) from None
    except ValueError as error:
        raise WrongSettings(f"nightread.toml cannot be read: {error}") from None
    places = settings.places
    problems += list(wrong_kinds(places)) or list(conflicts(places))
    if settings.database_file and is_no_database(settings.database_file):
        problems.append(
            f"{settings.setting_of('database_url')}: {settings.database_file} is not an SQLite database. It stays as it "
            "is. Name another file; if it was the ledger, restore a backup."
        )
    if problems:
        raise WrongSettings("\n".join(problems))
    return settings


def _unknown_variables(names: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each variable of ours that is no setting."""
    for name in sorted(names):
        setting = name.upper()
        if setting.startswith(_PREFIX) and setting.removeprefix(_PREFIX).lower() not in Settings.model_fields:
            yield _unknown(name)


def _sentence(problem: ErrorDetails) -> str:
    name = _PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
    if problem["type"] == "extra_forbidden":
        return _unknown(name)
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"


def _unknown(name: str) -> str:
    words = name.lower().removeprefix(_PREFIX.lower())
    if words in _REMOVED:
        return f"{name}: there is no such setting any more. {_REMOVED[words]}"
    nearest = difflib.get_close_matches(words, Settings.model_fields, n=1)
    suggestion = f" Did you mean {_PREFIX}{nearest[0].upper()}?" if nearest else ""
    return f"{name}: there is no such setting.{suggestion}"


def _networks(addresses: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse addresses and networks that are separated by commas. Raises ValueError."""
    return tuple(ip_network(part, strict=False) for part in _parts(addresses))


def _parts(text: str) -> list[str]:
    """Return the parts of a text that commas separate."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_ae_title(text: str) -> bool:
    """Return whether a text has the value representation AE (PS3.5, 6.2)."""
    fits = 0 < len(text) <= _LONGEST_AE_TITLE and text == text.strip()
    return fits and text.isascii() and text.isprintable() and "\\" not in text


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield group and role of each `group=role`. The last `=` divides: a group's name may have one."""
    for pair in _parts(text):
        group, _, role = pair.rpartition("=")
        yield group.strip(), role.strip()


def _is_safe_address(address: str) -> bool:
    """Return whether nobody between can read or change what is sent to an address."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return False
    if (
        not parts.hostname
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
        or not address.isprintable()
    ):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _is_in_memory(url: URL) -> bool:
    return url.database in {None, "", ":memory:"} or url.query.get("mode") == "memory"


def _is_undecodable(text: str) -> bool:
    """Return whether a text from the environment has bytes that are not UTF-8 (PEP 383)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
