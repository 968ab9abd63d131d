"""A whole project in one file, for WSGI and for ASGI."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings

from tests.integrations.applications.configured import OPTIONS, ROUTES, URL, said

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of no use here",
    KEYTURN={"url": URL, **OPTIONS},
    # What goes wrong is to be seen by the test.
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
    },
    MIDDLEWARE=["keyturn.integrations.django.KeyMiddleware", "django.middleware.csrf.CsrfViewMiddleware"],
)
django.setup()

from asgiref.sync import sync_to_async  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.decorators import method_decorator  # noqa: E402
from django.views import View  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

from keyturn.integrations.django import guard, key_not_required, require_key  # noqa: E402


async def any_key(request: Any) -> JsonResponse:
    """By the middleware alone."""
    return JsonResponse(said(request.key))


@require_key(**ROUTES["/read"])
def read(request: Any) -> JsonResponse:
    return JsonResponse(said(request.key))


@method_decorator(require_key(**ROUTES["/write"]), name="dispatch")
class Write(View):  # type: ignore[misc]
    """An async view that does not look like one where it is decorated."""

    async def get(self, request: Any) -> JsonResponse:
        return JsonResponse(said(request.key))

    async def post(self, request: Any) -> JsonResponse:
        return JsonResponse(said(request.key))


@require_key(**ROUTES["/documents"])
async def documents(request: Any) -> JsonResponse:
    return JsonResponse(said(request.key))


@key_not_required
def anybody(request: Any) -> JsonResponse:
    return JsonResponse("open", safe=False)


@key_not_required
async def revoke(request: Any, key_id: str) -> JsonResponse:
    await sync_to_async(lambda: guard().store.revoke_key(key_id))()
    return JsonResponse("revoked", safe=False)


urlpatterns = [
    path("any", any_key),
    path("read", read),
    path("write", Write.as_view()),
    path("documents", documents),
    path("open", anybody),
    path("revoke/<key_id>", csrf_exempt(revoke)),
]

wsgi = get_wsgi_application()
asgi = get_asgi_application()
