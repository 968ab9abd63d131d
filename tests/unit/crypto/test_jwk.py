"""Public keys as JWK, held against what two other libraries make of them, and against the RFC's own example."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from joserfc.jwk import KeySet

from keyturn.crypto.jwk import public_jwk
from keyturn.crypto.key_pairs import PublicKey, make_elliptic_key, make_rsa_key, public_der, public_key_of
from keyturn.domain.key import Algorithm, KeyLength
from keyturn.errors import IntegrityError

RFC_8037_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # appendix A.2
ELLIPTIC = [
    (Algorithm.ES256, KeyLength.BITS_256),
    (Algorithm.ES384, KeyLength.BITS_384),
    (Algorithm.ES512, KeyLength.BITS_521),
    (Algorithm.EDDSA, KeyLength.BITS_256),
]


def public_half(der: bytes) -> PublicKey:
    key = load_der_private_key(der, None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey)
    return key.public_key()


def others(algorithm: Algorithm, jwk: dict[str, str]) -> list[bytes]:
    """What other libraries make of it, as DER."""
    by_pyjwt = jwt.PyJWK(json.loads(json.dumps(jwk)), algorithm.value).key
    by_joserfc = KeySet.import_key_set({"keys": [{**jwk}]}).keys[0]
    return [public_der(by_pyjwt), by_joserfc.as_der(private=False)]  # type: ignore[union-attr]


@pytest.mark.parametrize(("algorithm", "length"), ELLIPTIC)
def test_an_elliptic_key_is_read_by_others_as_it_is(algorithm: Algorithm, length: KeyLength) -> None:
    for _ in range(40):  # one point in 256 has a coordinate that begins with zero bits
        der = public_der(public_half(make_elliptic_key(algorithm, length)))
        assert others(algorithm, public_jwk("kid", algorithm, der)) == [der, der]


def test_coordinates_have_their_full_length() -> None:
    """RFC 7518, section 6.2.1.2: leading zeros are not left out."""
    key = ec.derive_private_key(379, ec.SECP256R1()).public_key()
    for scalar in range(1, 2_000):
        key = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
        if key.public_numbers().x < 1 << 248:
            break
    jwk = public_jwk("kid", Algorithm.ES256, public_der(key))
    assert jwk["x"].startswith("A")
    assert (len(jwk["x"]), len(jwk["y"])) == (43, 43)


def test_an_rsa_key_is_read_by_others_as_it_is() -> None:
    der = public_der(public_half(make_rsa_key(2_048)))
    jwk = public_jwk("kid", Algorithm.PS256, der)
    assert jwk["e"] == "AQAB"
    assert others(Algorithm.PS256, jwk) == [der, der]


def test_the_example_of_the_rfc_is_written_as_there() -> None:
    raw = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    der = bytes.fromhex("302a300506032b6570032100" + raw)
    assert public_jwk("kid", Algorithm.EDDSA, der) == {
        "kty": "OKP", "kid": "kid", "use": "sig", "alg": "EdDSA", "crv": "Ed25519", "x": RFC_8037_X,
    }  # fmt: skip
    assert public_der(public_key_of(der)) == der


def test_what_is_no_public_key_becomes_no_jwk() -> None:
    with pytest.raises(IntegrityError):
        public_jwk("kid", Algorithm.EDDSA, b"0")
