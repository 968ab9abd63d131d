"""`keyturn serve`: from settings to an open port, and in order to the end."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import keyturn
from keyturn.adapters.ledger.sqlite.location import is_begun
from keyturn.bootstrap import initialise, open_node
from keyturn.cli import listening, opening, options, output
from keyturn.cli.interrupting import uninterrupted
from keyturn.cli.preparing import first_key_lines, handing_over, key_file_lines
from keyturn.config import MAX_PORT, Environment, Settings, settings_from
from keyturn.domain.spec import GeneratedKey
from keyturn.ports.key_wrapper import KeyWrapper

_log = logging.getLogger("keyturn.serving")


def serve(
    *,
    host: Annotated[
        str | None,
        options.text("--host", "ADDRESS", "Where to listen; KEYTURN_HOST or 127.0.0.1 if absent."),
    ] = None,
    port: Annotated[
        int | None,
        options.text(
            "--port", "PORT", "0 for any free one; KEYTURN_PORT or 8700 if absent.", min=0, max=MAX_PORT
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        options.text("--tls-cert", "FILE", "The certificate, in PEM, for TLS; KEYTURN_TLS_CERT if absent."),
    ] = None,
    tls_key: Annotated[
        Path | None,
        options.text("--tls-key", "FILE", "Its private key, in PEM; KEYTURN_TLS_KEY if absent."),
    ] = None,
    allow_plain_http: Annotated[
        bool,
        options.switch("--allow-plain-http", "In production without TLS: a proxy before the server has it."),
    ] = False,
) -> None:
    """Run the HTTP server until Ctrl-C or SIGTERM.

    In development, the first start makes the store and prints its first provisioning key, this once.

    In production (KEYTURN_ENV=production), 'keyturn init' makes the store beforehand, and other machines are served
    over TLS. The certificate is taken anew when its files change.
    """
    settings = settings_from(os.environ)
    settings = replace(
        settings,
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
        tls_cert=tls_cert or settings.tls_cert,
        tls_key=tls_key or settings.tls_key,
        allow_plain_http=allow_plain_http or settings.allow_plain_http,
    )
    listening.check(settings)
    # No other command should wait for a web framework.
    from keyturn.server import logs  # noqa: PLC0415
    from keyturn.server import serving as server  # noqa: PLC0415
    from keyturn.serving.notifying import notifiers_from  # noqa: PLC0415

    is_production = settings.environment is Environment.PRODUCTION
    with logs.to_stderr(is_production=is_production), ExitStack() as resources, _until_stopped():
        # Before the store is made: its first key must not be lost because of the certificate, or because the port is
        # taken.
        identity = listening.identity(settings)
        listener = resources.enter_context(server.bind(settings.host, settings.port))
        notifiers = notifiers_from(settings)
        wrapper = opening.wrapper(settings)
        with uninterrupted():
            first = _prepared(settings, wrapper)
            if first is not None:  # nothing that may still go wrong comes before it is shown
                with handing_over(first):
                    _greet(settings, first)
        node = open_node(settings.store, wrapper, max_staleness=settings.max_staleness)
        resources.callback(node.close)  # which writes what was counted
        # Another store under the same KEK has another log.
        _log.info("the store's log is %s", node.records.log.as_of)
        if first is None:
            _greet(settings, None)
        _name_addresses(settings, listener)
        server.serve(
            node,
            listener,
            identity,
            trusted_proxies=settings.trusted_proxies,
            notifiers=notifiers,
            announced=settings.announced,
        )


def _prepared(settings: Settings, wrapper: KeyWrapper) -> GeneratedKey | None:
    """In development, make the store or bring its schema up to date; the first key if the store was made.

    In production `keyturn init` alone does that, and opening the store only checks it: a wrong path, or a file that was
    emptied, must not start a server without keys.
    """
    if settings.environment is Environment.DEVELOPMENT:
        return initialise(settings.store, wrapper, with_first_key=True)
    path = settings.store_file
    if path is not None and not is_begun(path):
        raise opening.no_store(path)
    return None


def _greet(settings: Settings, first: GeneratedKey | None) -> None:
    output.write(
        f"Keyturn {keyturn.__version__} ({settings.environment.value}), store: {settings.shown_store}\n"
        f"{key_file_lines(settings)}{first_key_lines(first)}"
    )


def _name_addresses(settings: Settings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    scheme = "http" if settings.tls_cert is None else "https"
    address = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    output.write(f"API:            {address}\nDocumentation:  {address}/docs\n{_proxy_lines(settings)}")


def _proxy_lines(settings: Settings) -> str:
    return f"Trusted proxies: {', '.join(settings.trusted_proxies)}\n" if settings.trusted_proxies else ""


class _StopError(SystemExit):
    """A signal asks the server to end. Event loops let a SystemExit through, whatever they are at."""


@contextmanager
def _until_stopped() -> Iterator[None]:
    """Let SIGINT and SIGTERM end what is within, in order. A second one, while it is closing, ends it at once.

    While the server runs it takes these signals itself, ends in order and then sends them on to the handlers here.
    """

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _StopError

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _StopError:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
