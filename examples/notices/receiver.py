"""A receiver of notices: verifies each, takes each once, and opens new secrets that are encrypted to it.

    pip install standardwebhooks joserfc
    WEBHOOK_SECRET=whsec_... python receiver.py            # and RECEIVER_KEY=private.jwk for new secrets

`WEBHOOK_SECRET` is what `keyturn endpoint create` printed. Put TLS before it; it listens on this machine only.
"""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from joserfc import jwe, jwk
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

MAX_BODY = 1_000_000  # bytes
WEBHOOK = Webhook(os.environ["WEBHOOK_SECRET"])
KEY_FILE = os.environ.get("RECEIVER_KEY")
PRIVATE_KEY = jwk.import_key(json.loads(Path(KEY_FILE).read_text())) if KEY_FILE else None
SEEN: set[str] = set()  # keep it where it lasts: a notice may come again after a restart too


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BODY))
        try:
            # The signature and its time: what somebody else sent, changed or sends again later ends here.
            notice = WEBHOOK.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.answer(401)
            return
        if self.headers["webhook-id"] not in SEEN:
            take(notice["type"], notice["data"])
            SEEN.add(self.headers["webhook-id"])  # only now: where taking fails, it is to be delivered again
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def take(kind: str, data: dict) -> None:
    print(kind, *data["subjects"], flush=True)
    if "sealed_secret" in data and PRIVATE_KEY is not None:
        opened = jwe.decrypt_compact(
            data["sealed_secret"], PRIVATE_KEY, algorithms=["ECDH-ES+A256KW", "A256GCM"]
        )
        secret = json.loads(opened.plaintext)
        # Write it down before the answer: with 2xx it counts as picked up, and nobody else has it any more.
        file = Path(f"{secret['key_id']}.key")
        file.touch(mode=0o600)
        file.write_text(secret["key"])


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8800"))), Receiver)
    print("listening on port", server.server_port, flush=True)
    server.serve_forever()
