"""A new version of a key: fresh material of the key's own kind, tried out before anybody relies on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keyturn.crypto import signatures
from keyturn.crypto.generation import Material, RsaKeys, generate_material
from keyturn.crypto.key_pairs import public_key_of
from keyturn.crypto.keyring import Keyring
from keyturn.crypto.sealing import SEALED, associated_data, seal_material
from keyturn.domain.key import Algorithm, Key, Version
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.secret import Secret
from keyturn.domain.spec import KeySpec
from keyturn.errors import IntegrityError
from keyturn.issuing.issuer import raw_material

_TRIAL = b"keyturn: a new version is tried out"


@dataclass(frozen=True, slots=True)
class Fresh:
    """Material for a key's next version; `raw` is what is sealed of it."""

    material: Material
    raw: Secret


def fresh_for(key: Key, rsa_keys: RsaKeys) -> Fresh:
    """New material of the key's type, length, algorithm and prefix; IntegrityError if what it signs does not verify."""
    spec = KeySpec(
        type=key.type,
        scope=key.scope,
        length=key.length,
        algorithm=key.algorithm,
        prefix=key.prefix,
        is_imported=not key.type.is_token,  # a pair that was imported keeps its length
    )
    material = generate_material(spec, rsa_keys)
    raw = raw_material(key.type, material.secret, material.public_key)
    if key.algorithm is not None and not signs(key.algorithm, raw, material.public_key):
        raise IntegrityError("the new version's signature does not verify: nothing was changed")
    return Fresh(material, raw)


def signs(algorithm: Algorithm, raw: Secret, public_key: bytes | None) -> bool:
    """Whether what this material signs verifies."""
    signature = signatures.sign(algorithm, raw, _TRIAL)
    if public_key is None:
        return signatures.is_hmac_of(algorithm, raw, _TRIAL, signature)
    return signatures.is_signed_by(algorithm, public_key_of(public_key), _TRIAL, signature)


def version_of(
    fresh: Fresh,
    key: Key,
    number: int,
    *,
    state: KeyState,
    now: datetime,
    keyring: Keyring,
    is_kept: bool,
) -> Version:
    """The version that this material makes; `is_kept` where a token's secret waits, sealed, to be picked up."""
    seals = is_kept or key.recoverable or not key.type.is_token
    place = associated_data(key.tenant, key.key_id, number, key.type)
    return Version(
        key_id=key.key_id,
        tenant=key.tenant,
        number=number,
        type=key.type,
        state=state,
        state_changed_at=now,
        credential_id=fresh.material.credential_id,
        digest=fresh.material.digest,
        custody=SEALED if seals else None,
        algorithm=key.algorithm,
        public_key=fresh.material.public_key,
        created_at=now,
        material=seal_material(keyring, fresh.raw, place) if seals else None,
    )
