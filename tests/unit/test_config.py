"""Settings from the environment: what is said is taken, what is not has a default, what means nothing is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyturn.config import Environment, settings_from
from keyturn.errors import ConfigurationError

HOME = {"HOME": "/home/ann"}


def refused(name: str, value: str, **others: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        settings_from({**HOME, name: value, **others})
    assert caught.value.fix, "says how to mend it"
    return caught.value


def test_with_nothing_set_it_is_development_on_a_file_at_home_and_on_loopback() -> None:
    settings = settings_from(HOME)
    assert settings.store == "sqlite:////home/ann/.local/share/keyturn/keyturn.db"
    assert (settings.host, settings.port) == ("127.0.0.1", 8700)
    assert (settings.kms, settings.kek) == ("local", None)
    assert settings.environment is Environment.DEVELOPMENT
    assert settings.max_staleness == 1.0
    assert settings.is_sqlite


def test_what_is_set_is_taken() -> None:
    settings = settings_from(
        {
            **HOME,
            "KEYTURN_STORE": "postgresql://app@db/keyturn",
            "KEYTURN_KMS": "awskms:alias/keyturn",
            "KEYTURN_HOST": "::",
            "KEYTURN_PORT": "9000",
            "KEYTURN_DATA_DIR": "/var/lib/keyturn",
            "KEYTURN_ENV": "production",
            "KEYTURN_MAX_STALENESS": "2.5",
            "KEY_STORE_ENCRYPTION_KEY": "base64:AAAA",
        }
    )
    assert (settings.store, settings.is_sqlite) == ("postgresql://app@db/keyturn", False)
    assert (settings.kms, settings.host, settings.port) == ("awskms:alias/keyturn", "::", 9_000)
    assert (settings.data_dir, settings.environment) == (Path("/var/lib/keyturn"), Environment.PRODUCTION)
    assert settings.max_staleness == 2.5
    assert settings.kek is not None
    assert settings.kek.reveal() == "base64:AAAA"


def test_settings_do_not_print_the_key() -> None:
    settings = settings_from({**HOME, "KEY_STORE_ENCRYPTION_KEY": "passphrase:correct horse battery"})
    assert "battery" not in repr(settings)


@pytest.mark.parametrize(
    "name", ["KEYTURN_STORE", "KEYTURN_KMS", "KEYTURN_HOST", "KEYTURN_PORT", "KEYTURN_DATA_DIR",
             "KEYTURN_MAX_STALENESS", "KEYTURN_TRUSTED_PROXIES", "KEY_STORE_ENCRYPTION_KEY",
             "XDG_DATA_HOME", "XDG_CONFIG_HOME"],
)  # fmt: skip
def test_an_empty_setting_is_no_setting(name: str) -> None:
    """Compose files and unit files set what they leave out to nothing."""
    assert settings_from({**HOME, name: ""}) == settings_from(HOME)


# Names


@pytest.mark.parametrize("name", ["KEYTURN_STROE", "KEYTURN_", "KEYTURN_store", "KEYTURN_STORE_URL"])
def test_an_unknown_setting_is_refused_by_name(name: str) -> None:
    error = refused(name, "anything")
    assert name in str(error)
    assert "KEYTURN_STORE" in error.fix


def test_other_programs_variables_are_nobodys_business() -> None:
    others = {"KEYTURNER": "1", "keyturn_store": "x", "MY_KEYTURN_PORT": "x", "KEY_STORE_OTHER": "x"}
    assert settings_from({**HOME, **others}) == settings_from(HOME)


# Places


def test_data_and_key_live_apart_and_follow_the_desktops_conventions() -> None:
    settings = settings_from({**HOME, "XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "/config"})
    assert settings.data_dir == Path("/data/keyturn")
    assert settings.kek_file == Path("/config/keyturn/key-encryption-key")
    assert settings_from(HOME).kek_file == Path("/home/ann/.config/keyturn/key-encryption-key")


def test_the_data_directory_moves_the_store_and_not_the_key() -> None:
    settings = settings_from({**HOME, "KEYTURN_DATA_DIR": "/srv/keys"})
    assert settings.store == "sqlite:////srv/keys/keyturn.db"
    assert not settings.kek_file.is_relative_to(settings.data_dir)


def test_a_relative_data_directory_is_made_absolute_once() -> None:
    """The program may change its directory later."""
    assert (
        settings_from({**HOME, "KEYTURN_DATA_DIR": "here"}).store == f"sqlite:///{Path.cwd()}/here/keyturn.db"
    )


# Values


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("1", 1), ("65535", 65_535), ("08700", 8_700)])
def test_a_port_is_a_number_up_to_65535(text: str, port: int) -> None:
    assert settings_from({**HOME, "KEYTURN_PORT": text}).port == port


@pytest.mark.parametrize(
    "text", ["-1", "65536", "http", "80.0", " 80", "0x50", "٨٠", "²", "1e3", "9" * 5_000]
)
def test_what_is_no_port_is_refused(text: str) -> None:
    assert "KEYTURN_PORT" in str(refused("KEYTURN_PORT", text))


@pytest.mark.parametrize(("text", "seconds"), [("0.1", 0.1), ("1", 1.0), ("60", 60.0), ("5e-1", 0.5)])
def test_a_bound_of_staleness_is_from_a_tenth_of_a_second_to_a_minute(text: str, seconds: float) -> None:
    assert settings_from({**HOME, "KEYTURN_MAX_STALENESS": text}).max_staleness == seconds


@pytest.mark.parametrize("text", ["0", "0.09", "60.1", "-1", "nan", "inf", "-inf", "1s", "soon"])
def test_a_bound_that_bounds_nothing_or_too_much_is_refused(text: str) -> None:
    assert "KEYTURN_MAX_STALENESS" in str(refused("KEYTURN_MAX_STALENESS", text))


@pytest.mark.parametrize(
    ("text", "proxies"),
    [
        ("", ()),
        ("10.0.0.5", ("10.0.0.5",)),
        ("10.0.0.0/8 , 2001:DB8::/32,127.0.0.1/32", ("10.0.0.0/8", "2001:db8::/32", "127.0.0.1")),
        ("::ffff:10.0.0.0/104", ("10.0.0.0/8",)),
    ],
)
def test_trusted_proxies_are_addresses_and_networks(text: str, proxies: tuple[str, ...]) -> None:
    assert settings_from({**HOME, "KEYTURN_TRUSTED_PROXIES": text}).trusted_proxies == proxies


@pytest.mark.parametrize(
    "text",
    ["*", "localhost", "10.0.0.1/8", "10.0.0.5;10.0.0.6", "10.0.0.5,", ",", "10.0.0.5,10.0.0.5", "10.0.0",
     "fe80::1%eth0",
     "0.0.0.0/0", "10.0.0.5, ::/0", ", ".join(f"10.0.0.{number}" for number in range(65))],
)  # fmt: skip
def test_whoever_would_be_trusted_by_mistake_is_refused(text: str) -> None:
    assert "KEYTURN_TRUSTED_PROXIES" in str(refused("KEYTURN_TRUSTED_PROXIES", text))


@pytest.mark.parametrize("text", ["", "prod", "Production", "development "])
def test_an_environment_is_development_or_production(text: str) -> None:
    assert "KEYTURN_ENV" in str(refused("KEYTURN_ENV", text))


UNMEANT = {
    "a carriage return": "{}\r",
    "a line feed": "{}\n",
    "a tab": "\t{}",
    "a byte order mark": "\ufeff{}",
    "white space": "{} ",
    "a NUL": "\0{}",
    "U+001B": "\x1b[31m{}",
    "U+DCFF": "{}\udcff",
}
SET = {
    "KEYTURN_STORE": "sqlite:////srv/keys.db",
    "KEYTURN_KMS": "local",
    "KEYTURN_HOST": "127.0.0.1",
    "KEYTURN_DATA_DIR": "/srv/keys",
    "KEYTURN_ENV": "development",
    "KEYTURN_LIMITER": "memory",
    "KEYTURN_MAX_STALENESS": "1",
    "KEY_STORE_ENCRYPTION_KEY": "passphrase:correct horse battery",
    "XDG_CONFIG_HOME": "/config",
    "XDG_DATA_HOME": "/data",
}


@pytest.mark.parametrize("name", SET)
@pytest.mark.parametrize("found", UNMEANT)
def test_a_character_that_nobody_means_is_refused_with_its_name(name: str, found: str) -> None:
    """Files of another system set what cannot be seen: a store in `keys\\r`, a passphrase that differs by its end."""
    settings_from({**HOME, name: SET[name]})
    if (name, found) == ("KEY_STORE_ENCRYPTION_KEY", "white space"):
        settings_from({**HOME, name: f"{SET[name]} "})  # a passphrase may end as it likes
        return
    error = refused(name, UNMEANT[found].format(SET[name]))
    assert name in str(error)
    assert found in str(error)
    assert "battery" not in str(error) + error.fix
    assert ("Windows" in error.fix) is (found in ("a carriage return", "a byte order mark"))


def test_limits_are_in_memory_and_nowhere_else_yet() -> None:
    assert settings_from({**HOME, "KEYTURN_LIMITER": "memory"}) == settings_from(HOME)
    assert "unknown limiter 'redis'" in str(refused("KEYTURN_LIMITER", "redis://localhost"))


@pytest.mark.parametrize("store", ["postgresql://app@db/keyturn", "supabase", "sqlitex:///x"])
def test_development_keeps_to_a_file(store: str) -> None:
    """Its key lies in a file beside the user's settings: no place to guard a database that others reach."""
    assert "SQLite" in str(refused("KEYTURN_STORE", store))
    assert "KEYTURN_ENV=production" in refused("KEYTURN_STORE", store).fix
    assert settings_from({**HOME, "KEYTURN_STORE": store, "KEYTURN_ENV": "production"}).store == store


@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize("store", ["keys.db", "/var/lib/keys.db", "./keys.db"])
def test_a_path_that_is_no_url_is_told_how_to_be_one(store: str, environment: str) -> None:
    with pytest.raises(ConfigurationError, match="not a URL") as refused:
        settings_from({"HOME": "/home/a", "KEYTURN_STORE": store, "KEYTURN_ENV": environment})
    assert "sqlite:///" in refused.value.fix


def test_production_may_use_a_file_too() -> None:
    assert settings_from({**HOME, "KEYTURN_ENV": "production"}).is_sqlite


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("sqlite:////srv/keys%20of/ours.db", "/srv/keys of/ours.db"),
        ("postgresql://app:hunter2@db:5432/keyturn?sslmode=require", "postgresql://db:5432/keyturn"),
        ("postgresql://app:hunter2@one:5432,two:5433/keyturn", "postgresql://one:5432,two:5433/keyturn"),
        ("postgresql://app:hunter2@[2001:db8::1]:5432/keyturn", "postgresql://[2001:db8::1]:5432/keyturn"),
        ("postgresql:///keyturn?host=/run/postgresql&password=hunter2", "postgresql:///keyturn"),
        ("postgresql://app:hunter2#/x@y@db:port/keyturn", "postgresql://db:port/keyturn"),
        ("postgresql://app:hunter2?x@db/keyturn", "postgresql://..."),
        ("postgresql://db/keyturn?user=a@b&password=hunter2", "postgresql://..."),
    ],
)
def test_where_a_store_is_can_be_shown_whatever_its_url_is_like(store: str, shown: str) -> None:
    """`keyturn init` shows it before the first key: what failed there would lose that key."""
    settings = settings_from({**HOME, "KEYTURN_ENV": "production", "KEYTURN_STORE": store})
    assert settings.shown_store == shown
