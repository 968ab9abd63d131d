from __future__ import annotations

from typing import Any

from flask import Flask, g, jsonify

from keyturn.integrations.flask import KeyGuard
from tests.integrations.applications.configured import OPTIONS, ROUTES, URL, said

guard = KeyGuard(URL, **OPTIONS)
app = Flask(__name__)


@app.get("/any")
@guard.require()
def any_key() -> dict[str, Any]:
    return said(g.key)


@app.get("/read")
@guard.require(**ROUTES["/read"])
async def read() -> dict[str, Any]:
    return said(g.key)


@app.get("/write")
@guard.require(**ROUTES["/write"])
def write() -> dict[str, Any]:
    return said(g.key)


@app.get("/documents")
@guard.require(**ROUTES["/documents"])
def documents() -> dict[str, Any]:
    return said(g.key)


@app.get("/open")
def anybody() -> Any:
    return jsonify("open")


@app.post("/revoke/<key_id>")
def revoke(key_id: str) -> Any:
    guard.store.revoke_key(key_id)
    return jsonify("revoked")
