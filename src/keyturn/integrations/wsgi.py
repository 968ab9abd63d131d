"""A middleware for anything that speaks WSGI: every request needs a key.

from keyturn.integrations.wsgi import KeyMiddleware

app = KeyMiddleware(app, "sqlite:///keys.db", scope="read")

The application finds the Verification in ``environ["keyturn.key"]``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Unpack

from keyturn.domain.scope import KeyScope
from keyturn.integrations.guard import Guard, GuardOptions, guard_of
from keyturn.integrations.heads import wsgi_head
from keyturn.integrations.required import Required
from keyturn.serving.refusals import RefusedError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["KEY", "KeyMiddleware"]

KEY: Final = "keyturn.key"
"""Where the application finds the Verification in its environ."""


class KeyMiddleware:
    """Lets requests pass that carry a valid key, and answers the others itself.

    Args:
        app: the application.
        guard: the URL of the store or the server that says which keys are valid, with the options of a Guard; or a
            Guard, which several may share.
        scope: the key's scope must cover it.
        permissions: what its permissions must meet.

    Attributes:
        guard: its `store` is the one to issue and revoke with.
    """

    def __init__(
        self,
        app: WSGIApplication,
        guard: str | Guard,
        *,
        scope: KeyScope | str | None = None,
        permissions: str | None = None,
        **options: Unpack[GuardOptions],
    ) -> None:
        self._app = app
        self._required = Required.of(scope, permissions)
        self.guard = guard_of(guard, options)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        # A client cannot set it: header fields get names of their own.
        try:
            environ[KEY] = self.guard.check(wsgi_head(environ), self._required)
        except RefusedError as refused:
            refusal = refused.refusal
            start_response(f"{refusal.status} {refusal.phrase}", refusal.fields)
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [refusal.body]
        return self._app(environ, start_response)
