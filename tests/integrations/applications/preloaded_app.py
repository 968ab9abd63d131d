"""An application that has used its guard before its workers are forked, as one does that verifies when it starts."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, g

from keyturn.integrations.flask import KeyGuard
from keyturn.integrations.required import Required
from tests.integrations.applications.configured import OPTIONS, URL, said
from tests.integrations.heads import bearer

guard = KeyGuard(URL, **OPTIONS)
app = Flask(__name__)

for _ in range(3):
    guard.check(bearer(os.environ["EARLY"]), Required())


@app.get("/any")
@guard.require()
def any_key() -> dict[str, Any]:
    return said(g.key)


@app.get("/open")
def anybody() -> str:
    return "open"
