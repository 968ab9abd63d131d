"""`keyturn serve`: from settings to an open port, and in order to the end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import ip_address
from types import FrameType
from typing import Annotated, Final, NoReturn

import keyturn
from keyturn.bootstrap import initialise, open_node
from keyturn.cli import opening, options, output
from keyturn.cli.interrupting import uninterrupted
from keyturn.cli.preparing import first_key_lines, handing_over, key_file_lines
from keyturn.config import MAX_PORT, Environment, Settings, settings_from
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import ConfigurationError
from keyturn.ports.key_wrapper import KeyWrapper

_LOG_FORMAT: Final = "%(asctime)sZ %(levelname)s %(message)s"


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
) -> None:
    """Run the HTTP server until Ctrl-C or SIGTERM.

    In development, the first start makes the store and prints its first provisioning key, this once.

    In production (KEYTURN_ENV=production), 'keyturn init' makes the store beforehand.
    """
    settings = settings_from(os.environ)
    settings = replace(
        settings,
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
    )
    _check_host(settings)
    _log_readably()
    from keyturn.server import serving as server  # noqa: PLC0415 - no other command should wait for a web framework

    with ExitStack() as resources, _until_stopped():
        # Before the store is made: its first key must not be lost because the port is taken.
        listener = resources.enter_context(server.bind(settings.host, settings.port))
        wrapper = opening.wrapper(settings)
        with uninterrupted():
            first = _prepared(settings, wrapper)
            if first is not None:  # nothing that may still go wrong comes before it is shown
                with handing_over(first):
                    _greet(settings, first)
        node = open_node(settings.store, wrapper, max_staleness=settings.max_staleness)
        resources.callback(node.close)  # which writes what was counted
        if first is None:
            _greet(settings, None)
        _name_addresses(listener)
        server.serve(node, listener)


def _check_host(settings: Settings) -> None:
    if settings.environment is Environment.DEVELOPMENT and not _is_loopback(settings.host):
        raise ConfigurationError(
            f"development keeps to loopback addresses, and {settings.host} is none",
            fix="Set KEYTURN_ENV=production to be reached from other machines, or listen on 127.0.0.1.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _prepared(settings: Settings, wrapper: KeyWrapper) -> GeneratedKey | None:
    """Bring the store's schema up to date where this program may; the first key if the store was made.

    In production a store is made by `keyturn init` alone: a wrong path must not start an empty server.
    """
    path = opening.store_file(settings)
    if settings.environment is Environment.DEVELOPMENT:
        return initialise(settings.store, wrapper, with_first_key=True)
    if path is None:
        return None  # a database's schema belongs to another role: opening it checks it
    if not opening.is_made(path):
        raise opening.no_store(path)
    return initialise(settings.store, wrapper, with_first_key=False)


def _greet(settings: Settings, first: GeneratedKey | None) -> None:
    output.write(
        f"Keyturn {keyturn.__version__} ({settings.environment.value}), store: {opening.shown_store(settings)}\n"
        f"{key_file_lines(settings)}{first_key_lines(first)}"
    )


def _name_addresses(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    output.write(f"API:            {address}\nDocumentation:  {address}/docs\n")


def _log_readably() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter := logging.Formatter(_LOG_FORMAT, "%Y-%m-%dT%H:%M:%S"))
    formatter.converter = time.gmtime
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


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
