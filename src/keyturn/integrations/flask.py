"""Keys for Flask's routes.

from keyturn.integrations.flask import KeyGuard

guard = KeyGuard("sqlite:///keys.db")

@app.get("/documents")
@guard.require(scope="read", permissions="documents.read")
def documents(): return {"owner": g.key.owner}          # flask.g.key is the Verification
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Response, current_app, g, request

from keyturn.domain.scope import KeyScope
from keyturn.integrations.guard import Guard
from keyturn.integrations.heads import wsgi_head
from keyturn.integrations.required import Required
from keyturn.serving.refusals import Refusal, RefusedError

__all__ = ["KeyGuard"]

View = Callable[..., Any]


class KeyGuard(Guard):
    """A guard whose `require` decorates views."""

    def require(
        self, *, scope: KeyScope | str | None = None, permissions: str | None = None
    ) -> Callable[[View], View]:
        """A decorator, to be put below the route: the view is called for requests with a valid key, and no others.

        Args:
            scope: the key's scope must cover it.
            permissions: what its permissions must meet.
        """
        required = Required.of(scope, permissions)

        def guarded(view: View) -> View:
            @wraps(view)
            def checked(*args: Any, **named: Any) -> Any:
                try:
                    g.key = self.check(wsgi_head(request.environ), required)
                except RefusedError as refused:
                    return _response(refused.refusal)
                return current_app.ensure_sync(view)(*args, **named)

            return checked

        return guarded


def _response(refusal: Refusal) -> Response:
    return Response(refusal.body, refusal.status, refusal.fields)
