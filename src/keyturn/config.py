"""Settings from the environment: read once, checked, and refused where they name nothing known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import quote

from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.domain.fields import check_networks
from keyturn.domain.notices.announcements import DEFAULT_TERMS, MAX_LEADS, MAX_SECONDS, Terms
from keyturn.domain.plain import require_plain
from keyturn.domain.rotation.checks import DAY
from keyturn.domain.secret import Secret
from keyturn.errors import ConfigurationError, InvalidInputError, shown
from keyturn.verifier.verifier import DEFAULT_MAX_STALENESS, MAX_STALENESS_RANGE, check_staleness

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8700
MAX_PORT: Final = 65_535

_URL: Final = re.compile("[a-z]+:|supabase$")
KNOWN_SETTINGS: Final = frozenset(
    "KEYTURN_" + name
    for name in (
        *("STORE", "KMS", "LIMITER", "HOST", "PORT", "DATA_DIR", "ENV", "MAX_STALENESS"),
        *("TLS_CERT", "TLS_KEY", "ALLOW_PLAIN_HTTP", "TRUSTED_PROXIES"),
        *("NOTICES_ALLOW", "NOTICES_EXPIRING", "NOTICES_UNUSED", "SMTP", "SMTP_FROM", "SMTP_PASSWORD"),
    )
)
_KEK: Final = "KEY_STORE_ENCRYPTION_KEY"
_DAYS_FIX: Final = "Use days: KEYTURN_NOTICES_EXPIRING=30,7,1 and KEYTURN_NOTICES_UNUSED=90; 0 for none."
_SMTP_PASSWORD: Final = "KEYTURN_SMTP_PASSWORD"
_CHECKED: Final = KNOWN_SETTINGS | {_KEK, "HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"}


class Environment(Enum):
    """What the installation is for. Development keeps to SQLite and to loopback addresses."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one process.

    `kek` is None when the environment gives none; so are the files for TLS. `trusted_proxies` are addresses and
    networks in their canonical form, and so are `notices_allow`, to which notices may go though they are not public.
    """

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
    trusted_proxies: tuple[str, ...] = ()
    notices_allow: tuple[str, ...] = ()
    announced: Terms = DEFAULT_TERMS
    smtp: str | None = None
    smtp_from: str | None = None
    smtp_password: Secret | None = None

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a file of this machine."""
        return self.store.startswith("sqlite:")

    @property
    def store_file(self) -> Path | None:
        """The file of an SQLite store; None for any other store."""
        return parse_url(self.store) if self.is_sqlite else None

    @property
    def shown_store(self) -> str:
        """Where the store is, for people: a file, or a URL without its user, password and parameters."""
        if self.store_file is not None:
            return str(self.store_file)
        scheme, _, rest = self.store.partition("://")
        # A password that should be percent-encoded and is not may hold any of these; what follows the last '@' before
        # the parameters is no part of it. Not urlsplit: several hosts are no URL to it.
        place, _, parameters = rest.partition("?")
        shown = "..." if "@" in parameters and "@" not in place else place.rpartition("@")[2]
        return f"{scheme}://{shown}"

    @property
    def kek_file(self) -> Path:
        """Where development keeps its key-encryption key: never in the data directory."""
        return self.config_dir / "key-encryption-key"


def sqlite_url(path: Path) -> str:
    """The URL of the store in a file."""
    return f"sqlite:///{quote(str(path.absolute()))}"


def settings_from(environ: Mapping[str, str]) -> Settings:
    """The settings that an environment says; ConfigurationError that names what is wrong and how to mend it."""
    _check_names(environ)
    _check_characters(environ)
    home = Path(environ.get("HOME") or Path.home())
    data_dir = Path(
        environ.get("KEYTURN_DATA_DIR")
        or Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "keyturn"
    )
    if (limiter := environ.get("KEYTURN_LIMITER") or "memory") != "memory":
        raise ConfigurationError(
            f"unknown limiter {shown(limiter.partition(':')[0])}", fix="This version knows: memory."
        )
    environment = _environment(environ.get("KEYTURN_ENV", "development"))
    settings = Settings(
        store=environ.get("KEYTURN_STORE") or sqlite_url(data_dir / "keyturn.db"),
        kms=environ.get("KEYTURN_KMS") or "local",
        kek=Secret(environ[_KEK]) if environ.get(_KEK) else None,
        host=environ.get("KEYTURN_HOST") or DEFAULT_HOST,
        port=_port(environ.get("KEYTURN_PORT") or str(DEFAULT_PORT)),
        data_dir=data_dir,
        config_dir=Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "keyturn",
        environment=environment,
        max_staleness=staleness_from(environ),
        tls_cert=_path(environ.get("KEYTURN_TLS_CERT")),
        tls_key=_path(environ.get("KEYTURN_TLS_KEY")),
        allow_plain_http=_switch("KEYTURN_ALLOW_PLAIN_HTTP", environ),
        trusted_proxies=_proxies(environ.get("KEYTURN_TRUSTED_PROXIES") or ""),
        notices_allow=_notices_allow(environ.get("KEYTURN_NOTICES_ALLOW") or ""),
        announced=_announced(environ),
        smtp=environ.get("KEYTURN_SMTP") or None,
        smtp_from=environ.get("KEYTURN_SMTP_FROM") or None,
        smtp_password=Secret(environ[_SMTP_PASSWORD]) if environ.get(_SMTP_PASSWORD) else None,
    )
    if _URL.match(settings.store) is None:
        raise ConfigurationError(
            "KEYTURN_STORE is not a URL",
            fix="Name a file as sqlite:///relative.db or sqlite:////absolute.db (three slashes or four).",
        )
    if environment is Environment.DEVELOPMENT and not settings.is_sqlite:
        raise ConfigurationError(
            "development keeps to SQLite", fix="Set KEYTURN_ENV=production to use another store."
        )
    return settings


def _check_characters(environ: Mapping[str, str]) -> None:
    for name in sorted(_CHECKED & environ.keys()):
        value = require_plain(name, environ[name])
        if value != value.strip() and name not in (_KEK, _SMTP_PASSWORD):  # those may end as they like
            raise ConfigurationError(f"{name} begins or ends with white space", fix="Set it without.")


def staleness_from(environ: Mapping[str, str]) -> float:
    """The bound on staleness that an environment says, or the default, in seconds; ConfigurationError as above."""
    _check_names(environ)
    return _staleness(environ.get("KEYTURN_MAX_STALENESS") or str(DEFAULT_MAX_STALENESS))


def _check_names(environ: Mapping[str, str]) -> None:
    unknown = sorted(name for name in environ if name.startswith("KEYTURN_") and name not in KNOWN_SETTINGS)
    if unknown:
        raise ConfigurationError(
            f"unknown setting {unknown[0]}", fix=f"Known are: {', '.join(sorted(KNOWN_SETTINGS))}."
        )


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
    if re.fullmatch("[0-9]{1,5}", text) is None or int(text) > MAX_PORT:
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


def _networks(name: str, text: str) -> tuple[str, ...]:
    if not text.strip():
        return ()
    try:
        return tuple(check_networks([part.strip() for part in text.split(",")]))
    except InvalidInputError as error:
        raise ConfigurationError(
            f"{name}: {error}",
            fix="Use addresses and networks with commas between: 10.0.0.5, 192.168.0.0/24, 2001:db8::/64.",
        ) from None


def _notices_allow(text: str) -> tuple[str, ...]:
    networks = _networks("KEYTURN_NOTICES_ALLOW", text)
    if everything := [network for network in networks if network.endswith("/0")]:
        raise ConfigurationError(
            f"KEYTURN_NOTICES_ALLOW has {everything[0]}: then notices go to whatever this machine reaches",
            fix="Name the networks that your receivers are in; public addresses need no mention.",
        )
    return networks


def _announced(environ: Mapping[str, str]) -> Terms:
    expiring = _days("KEYTURN_NOTICES_EXPIRING", environ)
    unused = _days("KEYTURN_NOTICES_UNUSED", environ)
    if unused is not None and len(unused) > 1:
        raise ConfigurationError("KEYTURN_NOTICES_UNUSED is more than one number", fix=_DAYS_FIX)
    return Terms(
        expiring=DEFAULT_TERMS.expiring if expiring is None else expiring,
        unused=DEFAULT_TERMS.unused if unused is None else next(iter(unused), None),
    )


def _days(name: str, environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """Numbers of days, in seconds; none of them for 0, None where it is not set."""
    text = environ.get(name)
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) if re.fullmatch("[0-9]{1,4}", part) else -1 for part in parts]
    if numbers == [0]:
        return ()
    if len(numbers) > MAX_LEADS or not all(1 <= number <= MAX_SECONDS // DAY for number in numbers):
        raise ConfigurationError(f"{name} is {shown(text)}", fix=_DAYS_FIX)
    return tuple(number * DAY for number in numbers)


def _proxies(text: str) -> tuple[str, ...]:
    networks = _networks("KEYTURN_TRUSTED_PROXIES", text)
    if everybody := [network for network in networks if network.endswith("/0")]:
        raise ConfigurationError(
            f"KEYTURN_TRUSTED_PROXIES has {everybody[0]}: then every client says itself where it comes from",
            fix="Name the addresses of your proxies.",
        )
    return networks
