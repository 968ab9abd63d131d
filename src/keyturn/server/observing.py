"""Management calls as they are told of: a line in the log and a measurement of each, and a trace if one is wanted."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any, Final

from keyturn.server.calls import Call, answering, stamped
from keyturn.server.exchange import Receive, Scope, Send, client_of
from keyturn.server.measured import Measured

UNMATCHED: Final = "unmatched"  # the route of a path that there is not
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_PROBES: Final = frozenset(
    ("/readyz", "/metrics")
)  # asked every few seconds, and of interest where they fail
_FAILURE: Final = 500

Tracing = Callable[[Scope, Call], AbstractContextManager[None]]
"""Made around the answering of a call; it looks at the call, and at the scope's route, when it ends."""

_log = logging.getLogger("keyturn.calls")


class Observer:
    """Passes calls on to an application, and tells of each what came of it."""

    def __init__(
        self,
        application: Callable[[Scope, Receive, Send], Awaitable[None]],
        *,
        measured: Measured,
        tracing: Tracing | None,
    ) -> None:
        self._application = application
        self._measured = measured
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        began = perf_counter()
        with answering(scope) as call, self._traced(scope, call):
            try:
                await self._application(scope, receive, stamped(send, call))
            finally:
                self._tell(scope, call, perf_counter() - began)

    def _traced(self, scope: Scope, call: Call) -> AbstractContextManager[None]:
        return nullcontext() if self._tracing is None else self._tracing(scope, call)

    def _tell(self, scope: Scope, call: Call, seconds: float) -> None:
        if call.status is None:
            return  # the client went away: nobody was answered
        method, route = method_of(scope), route_of(scope)
        self._measured.calls.add(method, route, str(call.status))
        self._measured.call_seconds.observe(seconds, method, route)
        if route in _PROBES and call.status < _FAILURE:
            return
        level = logging.INFO if call.status < _FAILURE else logging.WARNING
        _log.log(level, "%s %s %d", method, route, call.status, extra={"fields": {
            "method": method,
            "route": route,
            "status": call.status,
            "duration_ms": round(seconds * 1_000, 3),
            "tenant": call.tenant,
            "actor": call.actor,
            "client": client_of(scope),
        }})  # fmt: skip


def method_of(scope: Scope) -> str:
    """The request's method; a client may make up its own, and labels are few."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def route_of(scope: Scope) -> str:
    """The template of the request's path, which never holds what a client has sent."""
    route: Any = scope.get("route")
    template: str | None = getattr(route, "path_format", None) or scope.get(
        "root_path"
    )  # of files, where they are
    return template or UNMATCHED
