"""Issue, verify, revoke and audit API keys and signing keys.

from keyturn import KeyScope, KeyType, SecureKeyGenerator, SecureKeyStore

generator = SecureKeyGenerator()
store = SecureKeyStore(storage_backend="local", encryption_key=key)     # 32 bytes, kept away from the data
api_key = generator.generate_api_key(key_type=KeyType.API_TOKEN, key_scope=KeyScope.READ_WRITE)
store.store_key(api_key)
verification = store.authenticate(api_key.secret.reveal(), scope=KeyScope.READ)
if verification: ...
"""

from typing import TYPE_CHECKING, Final

from keyturn.errors import KeyturnError
from keyturn.key_generator import (
    DerivedKey,
    GeneratedKey,
    ImportedToken,
    KeyLength,
    KeyPolicy,
    KeyScope,
    KeyType,
    Secret,
    SecureKeyGenerator,
    TokenPolicy,
)
from keyturn.key_rotator import (
    BlackoutWindow,
    KeyRotator,
    KeySelection,
    PickedUp,
    PolicyPage,
    RotatedKey,
    Rotation,
    RotationEvent,
    RotationFrequency,
    RotationPage,
    RotationPolicy,
    RotationPreview,
    RotationStatistics,
    RotationStrategy,
)
from keyturn.key_store import (
    KeyCheck,
    KeyMetadata,
    KeyPage,
    KeyState,
    KeyUsageEvent,
    RetrievedKey,
    RevocationReason,
    SecureKeyStore,
    UsageStatistics,
    Verification,
)

if TYPE_CHECKING:
    from keyturn.client import Client, IssuedKey

__version__: Final = "0.1.0"

__all__ = [
    "BlackoutWindow",
    "Client",
    "DerivedKey",
    "GeneratedKey",
    "ImportedToken",
    "IssuedKey",
    "KeyCheck",
    "KeyLength",
    "KeyMetadata",
    "KeyPage",
    "KeyPolicy",
    "KeyRotator",
    "KeyScope",
    "KeySelection",
    "KeyState",
    "KeyType",
    "KeyUsageEvent",
    "KeyturnError",
    "PickedUp",
    "PolicyPage",
    "RetrievedKey",
    "RevocationReason",
    "RotatedKey",
    "Rotation",
    "RotationEvent",
    "RotationFrequency",
    "RotationPage",
    "RotationPolicy",
    "RotationPreview",
    "RotationStatistics",
    "RotationStrategy",
    "Secret",
    "SecureKeyGenerator",
    "SecureKeyStore",
    "TokenPolicy",
    "UsageStatistics",
    "Verification",
]


def __getattr__(name: str) -> object:
    # The client brings an HTTP library with it, which whoever uses the store alone should not load.
    if name in ("Client", "IssuedKey"):
        from keyturn import client  # noqa: PLC0415

        return getattr(client, name)
    raise AttributeError(f"module 'keyturn' has no attribute {name!r}")
