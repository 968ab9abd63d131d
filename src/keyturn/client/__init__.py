"""A client for Keyturn's HTTP API.

from keyturn import Client, KeyScope

with Client("https://keys.example.com", provisioning_key) as client:
    issued = client.issue_key(owner="acme", scope=KeyScope.READ_WRITE, permissions=["documents.*"])
    issued.secret.reveal()                              # this once
    if client.verify(presented, scope=KeyScope.READ): ...
    client.revoke_key(issued.key_id)
"""

from keyturn.client.answers import IssuedKey
from keyturn.client.client import Client

__all__ = ["Client", "IssuedKey"]
