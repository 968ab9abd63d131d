"""A store with many keys, made through the library as a user would, in batches."""

from __future__ import annotations

import time
from pathlib import Path

from keyturn import KeyScope, SecureKeyGenerator, SecureKeyStore

PERMISSIONS = ("documents.read", "documents.write", "reports.read")
BATCH = 1_000
OWNERS = 1_000


def fill(path: Path, kek: bytes, count: int) -> list[str]:
    """Store `count` keys; their tokens. Says how it goes, for a million take minutes."""
    generator, tokens = SecureKeyGenerator(), []
    began = time.perf_counter()
    with SecureKeyStore(encryption_key=kek, path=path) as store:
        for number in range(count // BATCH):
            batch = generator.generate_batch(
                BATCH,
                key_scope=KeyScope.READ_WRITE,
                owner=f"owner-{number % OWNERS}",
                permissions=PERMISSIONS,
            )
            store.store_keys(batch)
            tokens += [key.secret.reveal() for key in batch]
            if number % 100 == 99:
                print(f"  stored {len(tokens):,} of {count:,} keys", flush=True)
    seconds = time.perf_counter() - began
    print(f"  {count / seconds:,.0f} keys a second generated and stored, {BATCH:,} a commit")
    return tokens
