from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
from pydantic import ValidationError

from tests.files import AWKWARD_NAMES
from worker.config import ROOT, Settings, read_settings
from worker.errors import WrongSettings
from worker.ledger.roles import Role


def problem(**values: object) -> str:
    with pytest.raises(ValidationError) as error:
        Settings.model_validate(values)
    # The default of the inbox depends on the data folder.
    (only,) = (item for item in error.value.errors() if item["type"] != "default_factory_not_called")
    return f"{only['loc'][0]}: {only['msg']}"


def test_by_default_all_files_are_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings()
    assert settings.data == tmp_path / "data"
    assert settings.inbox == tmp_path / "data" / "inbox"
    assert settings.store_path == tmp_path / "data" / "store"
    assert settings.database == f"sqlite:///{tmp_path / 'data' / 'nightread.sqlite3'}"
    assert settings.broker == f"redis+socket://{tmp_path / 'data' / 'broker' / 'valkey.sock'}"
    assert settings.broker_is_bundled
    assert settings.model.is_relative_to(ROOT)
    assert (settings.host, settings.port, settings.runtime) == ("127.0.0.1", 8000, "litert")


def test_arguments_override_the_environment_which_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nightread.toml").write_text(
        'port = 8001\nlease_s = 30\ndata = "kept"\nlog_level = "debug"\n'
    )
    monkeypatch.setenv("NIGHTREAD_PORT", "8002")
    monkeypatch.setenv("NIGHTREAD_LEASE_S", "31")
    settings = Settings(lease_s=32)
    assert (settings.port, settings.lease_s, settings.log_level) == (8002, 32, "debug")
    assert settings.data == tmp_path / "kept"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NIGHTREAD_DATA", "~/xrays")
    monkeypatch.setenv("NIGHTREAD_STORE", "~/kept")
    assert Settings().data == tmp_path / "xrays"
    assert Settings().store_path == tmp_path / "kept"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 0),
        ("port", 65_536),
        ("port", "http"),
        ("workers", 0),
        ("chunk_size", 0),
        ("lease_s", 0),
        ("settle_s", -1),
        ("max_attempts", 0),
        ("runtime", "torch"),
        ("log_level", "loud"),
        ("store", "s3://bucket/prefix"),
        ("database_url", "mysql://host/db"),
        ("database_url", "sqlite:nowhere"),
        ("database_url", "postgresql://user:p@ss:word@host:port/db"),
        ("broker_url", "amqp://host"),
        ("broker_url", "redis://:pass@host:port/0"),
        ("proxy_hops", -1),
        ("proxy_addresses", "*"),
        ("proxy_addresses", "proxy.example"),
        ("proxy_addresses", "10.0.0.5, 0.0.0.0/0"),
        ("proxy_addresses", "::/0"),
        ("dicom_port", 65_536),
        ("dicom_ae_title", ""),
        ("dicom_ae_title", "SEVENTEEN_LETTERS"),
        ("dicom_ae_title", "BACK\\SLASH"),
        ("dicom_calling", "CT_1, SEVENTEEN_LETTERS"),
        ("dicom_calling", "CT_1, TÜR"),
        ("dicom_addresses", "ct.example"),
        ("dicom_addresses", "10.0.0.5, 0.0.0.0/0"),
        ("dicom_pdu_bytes", 1),
        ("dicom_associations", 101),
        ("dicom_silence_s", 0),
        ("dicom_tls_key", "no/such/file"),
        ("dicom_tls_certificate", "no/such/file"),
        ("no_such_setting", 1),
    ],
)
def test_an_invalid_value_is_named(name: str, value: object) -> None:
    message = problem(**{name: value})
    assert message.startswith(name)
    assert "word" not in message
    assert "pass@" not in message, "the message must not repeat a password"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_postgresql_scheme_is_accepted(scheme: str) -> None:
    url = Settings(database_url=f"{scheme}://ada:se%2Fcret@db.example/night?host=/run/pg").database
    assert url == "postgresql+psycopg://ada:se%2Fcret@db.example/night?host=/run/pg"


@pytest.mark.parametrize(
    "url",
    ["redis://localhost:6379/0", "rediss://:pw@host/1", "redis+socket:///run/valkey.sock"],
)
def test_a_given_broker_is_used(url: str) -> None:
    settings = Settings(broker_url=url)
    assert (settings.broker, settings.broker_is_bundled) == (url, False)


def test_a_long_data_path_gets_a_short_socket_path(tmp_path: Path) -> None:
    first, second = (Settings(data=tmp_path / ("x" * 90) / name) for name in ("a", "b"))
    assert len(str(first.broker_socket)) < 100
    assert not first.broker_socket.is_relative_to(tmp_path)
    assert first.broker_socket != second.broker_socket
    assert first.broker_socket == Settings(data=first.data).broker_socket
    with_umlauts = Settings(data=Path("/", "ü" * 45))
    assert len(str(with_umlauts.data / "broker" / "valkey.sock")) < 100
    assert not with_umlauts.broker_socket.is_relative_to(with_umlauts.data), (
        "the path of a socket is counted in bytes"
    )
    assert len(str(with_umlauts.broker_socket).encode()) < 100


def test_hops_need_the_addresses_of_the_proxies() -> None:
    assert Settings(proxy_addresses="").proxy_networks == ()
    assert "NIGHTREAD_PROXY_HOPS needs the addresses of the proxies" in problem(
        proxy_hops=1, proxy_addresses=""
    )
    assert [str(network) for network in Settings(proxy_addresses=" 10.0.0.5, fd00::/8").proxy_networks] == [
        "10.0.0.5/32",
        "fd00::/8",
    ]


def test_settings_of_tls_for_dicom_belong_together(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.touch()
    key.touch()
    assert "also needs NIGHTREAD_DICOM_TLS_KEY" in problem(dicom_tls_certificate=str(certificate))
    assert "do nothing" in problem(dicom_tls_key=str(key))
    settings = Settings(dicom_tls_certificate=str(certificate), dicom_tls_key=str(key))
    assert settings.dicom_tls_certificate == str(certificate)


def test_senders_of_dicom_are_lists() -> None:
    settings = Settings(dicom_calling=" CT_1,DX ROOM 2 ,", dicom_addresses="192.0.2.7, fd00::/8")
    assert settings.calling_ae_titles == ["CT_1", "DX ROOM 2"]
    assert [str(network) for network in settings.dicom_networks] == ["192.0.2.7/32", "fd00::/8"]


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300"])
@pytest.mark.parametrize(
    "name", [name for name, field in Settings.model_fields.items() if field.annotation is float]
)
def test_no_duration_may_be_endless(name: str, value: str) -> None:
    assert problem(**{name: value}).startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["data", "model", "host"])
def test_an_empty_value_is_refused_where_it_means_nothing(name: str) -> None:
    assert "the value is empty" in problem(**{name: ""})


@pytest.mark.parametrize("name", ["data", "model", "store", "checkpoints"])
@pytest.mark.parametrize("path", ["a\0b", "M\udcfcller"])
def test_a_path_that_is_no_text_is_refused(name: str, path: str) -> None:
    assert problem(**{name: path}).startswith(f"{name}: ")


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    assert "in memory" in problem(database_url=url)


def test_names_of_levels_and_formats_ignore_case() -> None:
    settings = Settings.model_validate({"log_level": "INFO", "log_format": "Json", "runtime": "LiteRT"})
    assert (settings.log_level, settings.log_format, settings.runtime) == ("info", "json", "litert")


def test_an_ipv6_address_may_have_brackets() -> None:
    assert Settings(host="[::1]").host == "::1"


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("NIGHTREAD_WORKER", "NIGHTREAD_WORKER: there is no such setting. Did you mean NIGHTREAD_WORKERS?"),
        (
            "NIGHTREAD_SETLE_S",
            "NIGHTREAD_SETLE_S: there is no such setting. Did you mean NIGHTREAD_SETTLE_S?",
        ),
        (
            "NIGHTREAD_DATABASE_FILE",
            "NIGHTREAD_DATABASE_FILE: there is no such setting. Did you mean NIGHTREAD_DATABASE_URL_FILE?",
        ),
        ("nightread_prot", "nightread_prot: there is no such setting. Did you mean NIGHTREAD_PORT?"),
        ("NIGHTREAD_QQQQQQQQ", "NIGHTREAD_QQQQQQQQ: there is no such setting."),
        (
            "NIGHTREAD_TRUSTED_PROXY",
            "NIGHTREAD_TRUSTED_PROXY: there is no such setting any more. Set NIGHTREAD_PROXY_HOPS=1 and NIGHTREAD_PROXY_ADDRESSES to the address of the proxy.",
        ),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, "4")
    with pytest.raises(WrongSettings) as error:
        read_settings()
    assert str(error.value) == sentence


def test_a_misspelt_name_in_the_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "nightread.toml").write_text("setle_s = 1\n")
    with pytest.raises(WrongSettings, match=r"no such setting\. Did you mean NIGHTREAD_SETTLE_S\?"):
        read_settings()


SECRETS = {
    "database_url": "postgresql+psycopg://ada:hidden@db/night",
    "migration_database_url": "postgresql+psycopg://eve:hidden@db/night",
    "broker_url": "redis://:hidden@broker/0",
}


@pytest.fixture(params=SECRETS)
def secret(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a setting whose value is in a file that the environment names."""
    name = str(request.param)
    file = tmp_path / "file"
    file.touch(0o600)
    file.write_text(f"{SECRETS[name]}\n")
    monkeypatch.setenv(f"NIGHTREAD_{name.upper()}_FILE", str(file))
    return name


def test_a_secret_comes_from_its_file(secret: str) -> None:
    assert getattr(read_settings(), secret) == SECRETS[secret]


def test_a_secret_is_never_shown(secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTREAD_PORT", "0")
    with pytest.raises(ValidationError) as error:
        Settings()
    assert "hidden" not in str(error.value)
    monkeypatch.delenv("NIGHTREAD_PORT")
    assert "hidden" not in repr(Settings()) + str(Settings())
    with pytest.raises(ValidationError) as wrong:
        Settings.model_validate({secret: "hidden://hidden", f"{secret}_file": ""})
    assert "hidden" not in str(wrong.value)
    (tmp_path / "file").write_text("hidden://hidden:hidden")
    with pytest.raises(WrongSettings) as refused:
        read_settings()
    assert "hidden" not in str(refused.value)
    assert str(refused.value).startswith(f"NIGHTREAD_{secret.upper()}: ")


def test_a_secret_that_is_set_twice_is_refused(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"NIGHTREAD_{secret.upper()}"
    monkeypatch.setenv(name, SECRETS[secret])
    with pytest.raises(WrongSettings) as error:
        read_settings()
    assert f"set only one of {name} and {name}_FILE" in str(error.value)


def test_a_secret_that_cannot_be_used_is_refused_with_its_name(secret: str, tmp_path: Path) -> None:
    (tmp_path / "file").chmod(0o644)
    with pytest.raises(WrongSettings) as error:
        read_settings()
    assert str(error.value) == (
        f"NIGHTREAD_{secret.upper()}: every user can read or change the file {tmp_path / 'file'}; "
        f"run `chmod o= {tmp_path / 'file'}`"
    )


def test_the_file_of_a_secret_may_be_named_in_the_toml_file(tmp_path: Path) -> None:
    (tmp_path / "url").touch(0o600)
    (tmp_path / "url").write_text(SECRETS["broker_url"])
    (tmp_path / "nightread.toml").write_text('broker_url_file = "url"\n')
    settings = read_settings()
    assert (settings.broker, settings.broker_url_file) == (SECRETS["broker_url"], str(tmp_path / "url"))


@pytest.mark.parametrize("path", ["a\0b", "M\udcfcller"])
def test_a_secret_file_that_is_no_path_is_refused(path: str) -> None:
    assert problem(broker_url_file=path).startswith("broker_url_file: ")


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_every_data_path_gives_valid_urls(tmp_path: Path, name: str) -> None:
    settings = Settings(data=tmp_path / name)
    assert settings.database_file == tmp_path / name / "nightread.sqlite3"
    socket = settings.broker.removeprefix("redis+socket://")
    assert unquote(socket) == str(settings.broker_socket)


PROVIDER: dict[str, object] = {
    "oidc_issuer": "https://id.hospital.example/realms/staff",
    "oidc_client_id": "nightread",
    "oidc_client_secret": "hidden",
    "oidc_roles": "/readers=reader, a=b=auditor",
}


def test_roles_of_settings_are_the_roles_of_people() -> None:
    pairs = Settings.model_validate(
        {**PROVIDER, "oidc_roles": ",".join(f"group={role}" for role in Role)}
    ).roles_of_groups
    assert pairs == [("group", role.value) for role in Role]


def test_sign_in_service_is_described_completely_or_not_at_all() -> None:
    assert Settings().oidc_issuer == ""
    assert Settings.model_validate(PROVIDER).roles_of_groups == [("/readers", "reader"), ("a=b", "auditor")]
    for name in ("oidc_client_id", "oidc_client_secret", "oidc_roles"):
        message = problem(**{**PROVIDER, name: ""})
        assert message.endswith(f"this setting also needs NIGHTREAD_{name.upper()}")
        assert problem(**{name: PROVIDER[name]}).startswith("oidc_issuer: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("oidc_issuer", "http://id.hospital.example"),
        ("oidc_issuer", "id.hospital.example"),
        ("oidc_issuer", "https://"),
        ("oidc_issuer", "https://ada@id.hospital.example"),
        ("oidc_issuer", "https://id.hospital.example/?realm=staff"),
        ("oidc_issuer", "https://id.hospital.example:port"),
        ("oidc_redirect_uri", "https://nightread.hospital.example/"),
        ("oidc_redirect_uri", "http://nightread.hospital.example/sign-in/provider/callback"),
        ("oidc_redirect_uri", "/sign-in/provider/callback"),
        ("oidc_client_secret", "h\u00eddden"),
        ("oidc_client_secret", "hidden\r\nCookie: x"),
        ("oidc_roles", "readers"),
        ("oidc_roles", "=reader"),
        ("oidc_roles", "readers=raeder"),
        ("oidc_scopes", "profile"),
        ("oidc_groups_claim", ""),
        ("oidc_label", ""),
        ("oidc_ca_file", "a\0b"),
        ("oidc_ca_file", "no/such/file"),
    ],
)
def test_wrong_setting_of_the_sign_in_service_is_refused(name: str, value: str) -> None:
    message = problem(**{**PROVIDER, name: value})
    assert message.startswith(f"{name}: ")
    assert "dden" not in message, "the message must not repeat the secret"


def test_sign_in_service_on_this_machine_needs_no_tls() -> None:
    local = {
        "oidc_issuer": "http://localhost:9400",
        "oidc_redirect_uri": "http://[::1]/sign-in/provider/callback",
    }
    assert Settings.model_validate({**PROVIDER, **local}).oidc_issuer == "http://localhost:9400"


def test_secret_of_the_sign_in_service_comes_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text("hidden\n")
    given = {**PROVIDER, "oidc_client_secret_file": file}
    del given["oidc_client_secret"]
    for name, value in given.items():
        monkeypatch.setenv(f"NIGHTREAD_{name.upper()}", str(value))
    settings = read_settings()
    assert settings.oidc_client_secret == "hidden"
    assert "hidden" not in repr(settings)
