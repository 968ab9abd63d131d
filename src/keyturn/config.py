"""Settings from the environment: read once, checked, and refused where they name nothing known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import quote

from keyturn.domain.secret import Secret
from keyturn.errors import ConfigurationError, shown
from keyturn.verifier.verifier import DEFAULT_MAX_STALENESS, MAX_STALENESS_RANGE, check_staleness

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8700
MAX_PORT: Final = 65_535

KNOWN_SETTINGS: Final = frozenset(
    "KEYTURN_" + name
    for name in (
        *("STORE", "KMS", "HOST", "PORT", "DATA_DIR", "ENV", "MAX_STALENESS"),
        *("TLS_CERT", "TLS_KEY", "ALLOW_PLAIN_HTTP"),
    )
)


class Environment(Enum):
    """What the installation is for. Development keeps to SQLite and to loopback addresses."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one process. `kek` is None when the environment gives none; so are the files for TLS."""

    store: str
    kms: str
    kek: Secret | None
    host: str
    port: int
    data_dir: Path
    config_dir: Path
    environment: Environment
    max_staleness: float
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_plain_http: bool = False

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a file of this machine."""
        return self.store.startswith("sqlite:")

    @property
    def kek_file(self) -> Path:
        """Where development keeps its key-encryption key: never in the data directory."""
        return self.config_dir / "key-encryption-key"


def sqlite_url(path: Path) -> str:
    """The URL of the store in a file."""
    return f"sqlite:///{quote(str(path.absolute()))}"


def settings_from(environ: Mapping[str, str]) -> Settings:
    """The settings that an environment says; ConfigurationError that names what is wrong and how to mend it."""
    unknown = sorted(name for name in environ if name.startswith("KEYTURN_") and name not in KNOWN_SETTINGS)
    if unknown:
        raise ConfigurationError(
            f"unknown setting {unknown[0]}", fix=f"Known are: {', '.join(sorted(KNOWN_SETTINGS))}."
        )
    home = Path(environ.get("HOME") or Path.home())
    data_dir = Path(
        environ.get("KEYTURN_DATA_DIR")
        or Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "keyturn"
    )
    environment = _environment(environ.get("KEYTURN_ENV", "development"))
    settings = Settings(
        store=environ.get("KEYTURN_STORE") or sqlite_url(data_dir / "keyturn.db"),
        kms=environ.get("KEYTURN_KMS") or "local",
        kek=Secret(environ["KEY_STORE_ENCRYPTION_KEY"]) if environ.get("KEY_STORE_ENCRYPTION_KEY") else None,
        host=environ.get("KEYTURN_HOST") or DEFAULT_HOST,
        port=_port(environ.get("KEYTURN_PORT") or str(DEFAULT_PORT)),
        data_dir=data_dir,
        config_dir=Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "keyturn",
        environment=environment,
        max_staleness=_staleness(environ.get("KEYTURN_MAX_STALENESS") or str(DEFAULT_MAX_STALENESS)),
        tls_cert=_path(environ.get("KEYTURN_TLS_CERT")),
        tls_key=_path(environ.get("KEYTURN_TLS_KEY")),
        allow_plain_http=_switch("KEYTURN_ALLOW_PLAIN_HTTP", environ),
    )
    if environment is Environment.DEVELOPMENT and not settings.is_sqlite:
        raise ConfigurationError(
            "development keeps to SQLite", fix="Set KEYTURN_ENV=production to use another store."
        )
    return settings


def _environment(text: str) -> Environment:
    try:
        return Environment(text)
    except ValueError:
        raise ConfigurationError(
            f"KEYTURN_ENV is {shown(text)}", fix="Use 'development' or 'production'."
        ) from None


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _switch(name: str, environ: Mapping[str, str]) -> bool:
    text = environ.get(name) or "0"
    if text not in ("0", "1"):
        raise ConfigurationError(f"{name} is {shown(text)}", fix="Use 1 for yes, 0 for no.")
    return text == "1"


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= MAX_PORT:
        raise ConfigurationError(
            f"KEYTURN_PORT is {shown(text)}", fix="Use a number from 0 (any free port) to 65535."
        )
    return int(text)


def _staleness(text: str) -> float:
    try:
        return check_staleness(float(text))
    except (ValueError, ConfigurationError):
        low, high = MAX_STALENESS_RANGE
        raise ConfigurationError(
            f"KEYTURN_MAX_STALENESS is {shown(text)}",
            fix=f"Use seconds from {low} to {high:.0f}; the default is 1.",
        ) from None
