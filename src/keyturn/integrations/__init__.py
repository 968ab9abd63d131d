"""Keyturn in front of an application: FastAPI, Django, Flask, and anything that speaks ASGI or WSGI.

guard = KeyGuard("sqlite:///keys.db")                           # verifies in this process, on the store itself
guard = KeyGuard("https://keys.example.com", key=provisioning)  # asks a server
"""

from keyturn.integrations.guard import Guard, GuardOptions

__all__ = ["Guard", "GuardOptions"]
