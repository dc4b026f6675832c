"""A receiver of pushed events, with Python's standard library alone: it verifies each signature, and prints what it got.

    PUSH_SECRETS=whsec_... PORT=9000 python3 receiver.py

Answer 2xx when the event is done with: then the account's next one comes. Answer 503 or 429 while your own systems are away, 410 for
an event that will never be wanted, and anything else when it failed: it comes again, with the same webhook-id.
"""
import base64
import hashlib
import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

SECRETS = [
    base64.b64decode(secret.removeprefix("whsec_")) for secret in os.environ.get("PUSH_SECRETS", "").split(",") if secret
]
TOLERANCE_SECONDS = 300


def is_genuine(headers, body: bytes) -> bool:
    """Whether one of the signatures fits one of the secrets, and the request is fresh."""
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signed = f"{headers.get('webhook-id')}.{timestamp}.".encode() + body
    given = headers.get("webhook-signature", "").split(" ")
    for secret in SECRETS:
        expected = "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        if any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in given):
            return True
    return False


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        if not is_genuine(self.headers, body):
            return self.answer(401, b"the signature does not fit")
        account = unquote(self.headers["inturn-account"])
        names = ("inturn-seq", "inturn-attempt", "ce-type")
        line = " ".join([account, *(self.headers.get(name, "") for name in names), body.decode()])
        # One write for a line: others print at the same time.
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        self.answer(204)

    def answer(self, status: int, text: bytes = b""):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_arguments):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver)
    print("listening", server.server_address[1], flush=True)
    server.serve_forever()
