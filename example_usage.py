"""The whole life of a key, and of one that signs, on a store of its own in a temporary folder.

Run it with the environment that `make serve` or `make test` made:

    .venv/bin/python example_usage.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from keyturn import (
    KeyRotator,
    KeyScope,
    KeyType,
    RotatedKey,
    RotationFrequency,
    RotationPolicy,
    RotationStrategy,
    SecureKeyGenerator,
    SecureKeyStore,
)


def the_life_of_a_token(generator: SecureKeyGenerator, store: SecureKeyStore) -> None:
    """Issue, verify, narrow, suspend, resume, revoke and destroy a key that a customer presents."""
    api_key = generator.generate_api_key(
        key_type=KeyType.API_TOKEN,
        key_scope=KeyScope.READ_WRITE,
        expires_in=86400 * 30,
        prefix="acme_live",
        owner="acme",
        permissions=["documents.*", "billing.read"],
        metadata={"plan": "pro"},
    )
    store.store_key(api_key)
    token = api_key.secret.reveal()  # hand it over now: the store keeps its SHA-256 and nothing else
    print(f"issued   {api_key.key_id}, a token that begins with {token[:10]}")

    verification = store.authenticate(
        token, scope=KeyScope.READ, permissions="documents.read AND NOT beta", ip="203.0.113.9"
    )
    if verification:
        print(
            f"verified {verification.owner} on plan {verification.metadata['plan']}, as of {verification.as_of}"
        )

    store.update_key(api_key.key_id, permissions=["documents.read"])
    print("narrowed", store.authenticate(token, permissions="documents.write").code)

    store.suspend_key(api_key.key_id, note="a strange pattern of use")
    print("held    ", store.authenticate(token).code)
    store.resume_key(api_key.key_id)
    print("resumed ", store.authenticate(token).code)

    store.revoke_key(api_key.key_id, "keyCompromise", note="found in a public repository")
    print("revoked ", store.authenticate(token).code)
    is_valid, message = store.verify_key(
        api_key.key_id
    )  # for who holds the id; it says nothing of possession
    print(f"status   {is_valid}: {message}")
    store.destroy_key(api_key.key_id)

    usage = store.get_usage_statistics(api_key.key_id)
    print(f"used     {usage.total} times, refused {sum(usage.refused.values())} times")
    for event in store.get_audit_log(key_id=api_key.key_id):
        print(f"  {event.position:>3} {event.type}")


def a_key_that_signs(generator: SecureKeyGenerator, store: SecureKeyStore) -> None:
    """Sign data and a JSON Web Token; the private keys stay in the store, encrypted."""
    ecdsa = generator.generate_api_key(KeyType.ECDSA, KeyScope.READ_WRITE)
    store.store_key(ecdsa)
    signature = store.sign(ecdsa.key_id, b"an invoice")
    print("signed  ", bool(store.verify_signature(ecdsa.key_id, b"an invoice", signature.value)))
    print("altered ", store.verify_signature(ecdsa.key_id, b"another invoice", signature.value).code.value)

    jwt = generator.generate_api_key(KeyType.JWT, KeyScope.READ_WRITE)
    store.store_key(jwt)
    signed = store.sign_jwt(jwt.key_id, {"sub": "acme"}, expires_in=3600)
    checked = store.verify_jwt(signed.token)
    if checked and checked.claims is not None:
        print(
            f"a token  of {checked.algorithm.value if checked.algorithm else '?'} for {checked.claims['sub']}"
        )


def a_rotation(generator: SecureKeyGenerator, store: SecureKeyStore) -> None:
    """Replace a key's secret while its holder goes on, roll one rotation back, and let the next one come by itself."""
    rotator = KeyRotator(generator, store)
    rotator.create_rotation_policy(
        RotationPolicy(
            policy_id="monthly_rotation",
            frequency=RotationFrequency.MONTHLY,
            strategy=RotationStrategy.OVERLAPPING,
            overlap=7 * 86_400,
        )
    )
    api_key = generator.generate_api_key(rotation_policy_id="monthly_rotation")
    store.store_key(api_key)
    old = api_key.secret.reveal()

    first = rotator.rotate_key(api_key.key_id)
    print("rotated ", store.authenticate(old).valid, "and", store.authenticate(_token(first)).valid)
    rotator.rollback_rotation(first.rotation.rotation_id, note="the holder could not take it up")
    print("undone  ", store.authenticate(old).valid, "and", store.authenticate(_token(first)).valid)

    second = rotator.rotate_key(api_key.key_id)
    rotator.complete_rotation(second.rotation.rotation_id)
    print("over    ", store.authenticate(old).valid, "and", store.authenticate(_token(second)).valid)
    for rotation in rotator.get_rotation_history(key_id=api_key.key_id).items:
        print(f"  {rotation.old} to {rotation.new}: {rotation.stage.value}")
    print("due     ", len(rotator.check_rotation_schedules()), "now; call it from time to time")


def _token(rotated: RotatedKey) -> str:
    assert rotated.secret is not None
    return rotated.secret.reveal()


def main() -> None:
    """Run the examples."""
    key = os.urandom(32)  # the key-encryption key: keep yours somewhere safe, never beside the data
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.db"
        with SecureKeyStore(storage_backend="local", encryption_key=key, path=path) as store:
            generator = SecureKeyGenerator()
            the_life_of_a_token(generator, store)
            a_key_that_signs(generator, store)
            a_rotation(generator, store)


if __name__ == "__main__":
    main()
