"""Keys for Django's views: a middleware for all of them, a decorator for one.

# settings.py
KEYTURN = {"url": "sqlite:///keys.db"}                                  # and the options of a Guard
MIDDLEWARE = [..., "keyturn.integrations.django.KeyMiddleware"]         # every view needs a key

# views.py
@require_key(scope="read", permissions="documents.read")
def documents(request): return JsonResponse({"owner": request.key.owner})
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial, wraps
from inspect import unwrap
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse

from keyturn.domain.scope import KeyScope
from keyturn.errors import ConfigurationError
from keyturn.integrations.guard import Guard
from keyturn.integrations.heads import wsgi_head
from keyturn.integrations.required import Required
from keyturn.serving.refusals import Refusal, RefusedError

__all__ = ["KeyMiddleware", "guard", "key_not_required", "require_key"]

View = Callable[..., Any]

_DECIDES: Final = "keyturn_decides"  # on a view that says itself what it requires
_OF_THE_MIDDLEWARE: Final = ("scope", "permissions")

_making = threading.Lock()
_made: Guard | None = None


def guard() -> Guard:
    """The guard that the setting KEYTURN describes; its `store` is the one to issue and revoke with."""
    global _made  # noqa: PLW0603 - settings are global as well
    with _making:
        if _made is None:
            options = _setting()
            _made = Guard(**{name: options[name] for name in options if name not in _OF_THE_MIDDLEWARE})
        return _made


def require_key(
    *, scope: KeyScope | str | None = None, permissions: str | None = None
) -> Callable[[View], View]:
    """A decorator: the view, sync or async, is called for requests with a valid key, and no others.

    ``request.key`` is then the Verification. The middleware, where there is one, leaves the view to it. Such a view
    needs no CSRF token: no other site can have a browser send a key.

    Args:
        scope: the key's scope must cover it.
        permissions: what its permissions must meet.
    """
    required = Required.of(scope, permissions)

    def guarded(view: View) -> View:
        is_async = _is_async(view)

        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **named: Any) -> Any:
            if is_async:
                return _checked_async(view, required, request, args, named)
            refused = _decided(request, required)
            return view(request, *args, **named) if refused is None else refused

        if iscoroutinefunction(view):
            markcoroutinefunction(checked)
        setattr(checked, _DECIDES, True)
        checked.csrf_exempt = True  # type: ignore[attr-defined]
        return checked

    return guarded


def key_not_required(view: View) -> View:
    """A decorator: the middleware lets everybody call this view."""
    setattr(view, _DECIDES, True)
    return view


class KeyMiddleware:
    """Calls views for requests with a valid key, and no others; ``request.key`` is the Verification.

    ``scope`` and ``permissions`` in the setting KEYTURN are what it requires. A view decorated with `require_key`
    requires what it says there instead, and one with `key_not_required` nothing.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: View) -> None:
        options = _setting()
        self._get_response = get_response
        self._required = Required.of(*(options.get(name) for name in _OF_THE_MIDDLEWARE))
        is_async = iscoroutinefunction(get_response)
        self.process_view = self._process_view_async if is_async else self._process_view
        if is_async:
            markcoroutinefunction(self)
        guard()  # what is wrong with the setting is said when the server starts

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on; which view it is for is not known yet."""
        return self._get_response(request)

    def _process_view(
        self, request: HttpRequest, view: View, _args: object, _named: object
    ) -> HttpResponse | None:
        return None if hasattr(view, _DECIDES) else _decided(request, self._required)

    async def _process_view_async(
        self, request: HttpRequest, view: View, _args: object, _named: object
    ) -> HttpResponse | None:
        return None if hasattr(view, _DECIDES) else await _decided_async(request, self._required)


def _decided(request: HttpRequest, required: Required) -> HttpResponse | None:
    """What the request is refused with; None when it passes."""
    try:
        request.key = guard().check(wsgi_head(request.META), required)
    except RefusedError as refused:
        return _response(refused.refusal)
    return None


async def _decided_async(request: HttpRequest, required: Required) -> HttpResponse | None:
    try:
        request.key = await guard().check_async(wsgi_head(request.META), required)
    except RefusedError as refused:
        return _response(refused.refusal)
    return None


async def _checked_async(
    view: View, required: Required, request: HttpRequest, args: tuple[Any, ...], named: dict[str, Any]
) -> Any:
    refused = await _decided_async(request, required)
    return await view(request, *args, **named) if refused is None else refused


def _is_async(view: View) -> bool:
    """Whether to call a view gives something to await; the `dispatch` of a class with async methods hides it."""
    bound = unwrap(view, stop=lambda wrapped: isinstance(wrapped, partial))
    instance = getattr(getattr(bound, "func", None), "__self__", None)
    return bool(iscoroutinefunction(view) or getattr(instance, "view_is_async", False))


def _response(refusal: Refusal) -> HttpResponse:
    return HttpResponse(refusal.body, status=refusal.status, headers=dict(refusal.fields))


def _setting() -> dict[str, Any]:
    setting = getattr(settings, "KEYTURN", None)
    if not isinstance(setting, dict) or "url" not in setting:
        raise ConfigurationError(
            "the setting KEYTURN is missing, or has no url",
            fix='Write KEYTURN = {"url": "sqlite:///keys.db"}.',
        )
    return setting


def _forget(*, setting: str, **_: object) -> None:
    """Tests change settings."""
    global _made
    if setting == "KEYTURN":
        with _making:
            before, _made = _made, None
        if before is not None:
            before.close()


setting_changed.connect(_forget)
