"""A key of each type, made, stored, used and read back: in a store of its own that vanishes afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from keyturn.adapters.kms.local import KEK_BYTES, LocalKeyWrapper
from keyturn.bootstrap import Node, initialise, open_node
from keyturn.config import sqlite_url
from keyturn.crypto.randomness import random_bytes
from keyturn.doctor.findings import Finding, failed, in_order, refused
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.key import KeyType
from keyturn.domain.principal import LOCAL_ACTOR, Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import KeyturnError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.ports.key_wrapper import KeyWrapper
from keyturn.verifier.decision import Demand

_BY: Final = Principal(actor=LOCAL_ACTOR)
_DATA: Final = b"keyturn doctor"
_MENDING: Final = "Reinstall Keyturn and cryptography; if it stays, report it with this line."


def round_trip(wrapper: KeyWrapper | None) -> Finding:
    """Whether keys of all types do what they are for, under this key-encryption key or, without one, a fresh one."""
    try:
        with tempfile.TemporaryDirectory(prefix="keyturn-doctor-") as directory:
            broken = _broken_types(
                Path(directory), wrapper or LocalKeyWrapper(Secret(random_bytes(KEK_BYTES)))
            )
    except (KeyturnError, OSError) as error:
        return refused("round trip", error)
    if broken:
        return failed(
            "round trip", f"keys of these types do not do what they are for: {', '.join(broken)}", _MENDING
        )
    return in_order("round trip", f"made, stored and used: {', '.join(each.value for each in KeyType)}")


def _broken_types(directory: Path, wrapper: KeyWrapper) -> list[str]:
    url = sqlite_url(directory / "round-trip.db")
    initialise(url, wrapper, with_first_key=False)
    node, generator = open_node(url, wrapper), SecureKeyGenerator()
    try:
        broken = []
        for key_type in KeyType:
            key = generator.generate_api_key(key_type, KeyScope.READ_WRITE, recoverable=key_type.is_token)
            node.issuer.issue(key, _BY)
            if not all(proof(node, key) for proof in _PROOFS[key_type]):
                broken.append(key_type.value)
        return broken
    finally:
        node.close()


def _is_accepted(node: Node, key: GeneratedKey) -> bool:
    demand = Demand.of(tenant=DEFAULT_TENANT, scope=KeyScope.WRITE)
    return bool(node.verifier.authenticate(key.secret.reveal(), demand))


def _comes_back(node: Node, key: GeneratedKey) -> bool:
    return node.reader.material(key.key_id, _BY).secret == key.secret


def _signs(node: Node, key: GeneratedKey) -> bool:
    signature = node.signer.sign(key.key_id, _DATA, _BY)
    return bool(node.signer.verify(key.key_id, _DATA, signature.value, _BY))


def _signs_claims(node: Node, key: GeneratedKey) -> bool:
    signed = node.signer.sign_jwt(key.key_id, {"sub": "doctor"}, _BY, expires_in=60)
    return bool(node.signer.verify_jwt(signed.token, _BY))


_Proof = Callable[[Node, GeneratedKey], bool]
_PROOFS: Final[dict[KeyType, tuple[_Proof, ...]]] = {
    KeyType.API_TOKEN: (_is_accepted, _comes_back),
    KeyType.PROVISIONING: (_is_accepted, _comes_back),
    KeyType.HMAC: (_signs, _comes_back),
    KeyType.RSA: (_signs,),
    KeyType.ECDSA: (_signs,),
    KeyType.JWT: (_signs_claims,),
}
