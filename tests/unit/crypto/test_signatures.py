"""Signatures, against what others made (RFC 4231, RFC 8032, RFC 7515, RFC 7520) and against `cryptography` itself."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from keyturn.crypto.key_pairs import (
    is_of,
    make_elliptic_key,
    make_rsa_key,
    private_der,
    private_der_of,
    private_key_of,
    private_pem,
    public_der,
    public_key_of,
)
from keyturn.crypto.signatures import (
    from_side_by_side,
    is_hmac_of,
    is_signed_by,
    side_by_side,
    sign,
)
from keyturn.domain.key import Algorithm, KeyLength
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError

RSA = make_rsa_key(3_072)
ELLIPTIC = {
    Algorithm.ES256: KeyLength.BITS_256,
    Algorithm.ES384: KeyLength.BITS_384,
    Algorithm.ES512: KeyLength.BITS_521,
    Algorithm.EDDSA: KeyLength.BITS_256,
}
PAIRS = {
    **{algorithm: make_elliptic_key(algorithm, length) for algorithm, length in ELLIPTIC.items()},
    **dict.fromkeys((Algorithm.PS256, Algorithm.PS384, Algorithm.PS512, Algorithm.RS256), RSA),
}


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        # RFC 4231, test case 2
        (Algorithm.HS256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            Algorithm.HS512,
            (
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd"
                "caeab1a34d4a6b4b636e070a38bce737"
            ),
        ),
    ],
)
def test_hmac_is_that_of_rfc_4231(algorithm: Algorithm, expected: str) -> None:
    key, data = Secret(b"Jefe"), b"what do ya want for nothing?"
    value = sign(algorithm, key, data)
    assert value.hex() == expected
    assert is_hmac_of(algorithm, key, data, value)
    assert not is_hmac_of(algorithm, key, data + b" ", value)
    assert not is_hmac_of(algorithm, Secret(b"jefe"), data, value)
    assert not is_hmac_of(algorithm, key, data, value[:-1])
    assert not is_hmac_of(algorithm, key, data, b"")


def test_ed25519_is_that_of_rfc_8032() -> None:
    seed = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    der = private_der(ed25519.Ed25519PrivateKey.from_private_bytes(seed))
    value = sign(Algorithm.EDDSA, Secret(der), bytes.fromhex("af82"))
    assert value.hex() == (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )


@pytest.mark.parametrize("algorithm", PAIRS)
def test_a_signature_holds_for_its_key_and_its_data_and_for_nothing_else(algorithm: Algorithm) -> None:
    public = private_key_of(PAIRS[algorithm]).public_key()
    value = sign(algorithm, Secret(PAIRS[algorithm]), b"data")
    assert is_signed_by(algorithm, public, b"data", value)
    assert not is_signed_by(algorithm, public, b"Data", value)
    assert not is_signed_by(algorithm, public, b"data", value[:-1])
    assert not is_signed_by(algorithm, public, b"data", b"")
    flipped = bytes([value[0]]) + bytes([value[1] ^ 1]) + value[2:]
    assert not is_signed_by(algorithm, public, b"data", flipped)
    raw = side_by_side(algorithm, value)
    assert from_side_by_side(algorithm, raw) == value
    if algorithm.value.startswith("ES"):
        assert len(raw) == {"ES256": 64, "ES384": 96, "ES512": 132}[algorithm.value]
        assert from_side_by_side(algorithm, raw[1:]) is None


@pytest.mark.parametrize(
    ("algorithm", "hashed"),
    [
        (Algorithm.PS256, hashes.SHA256()),
        (Algorithm.PS384, hashes.SHA384()),
        (Algorithm.PS512, hashes.SHA512()),
    ],
)
def test_pss_has_a_salt_as_long_as_its_hash(algorithm: Algorithm, hashed: hashes.HashAlgorithm) -> None:
    public = private_key_of(RSA).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    value = sign(algorithm, Secret(RSA), b"data")
    public.verify(value, b"data", padding.PSS(padding.MGF1(hashed), hashed.digest_size), hashed)


def test_one_algorithms_signature_is_no_others() -> None:
    public = private_key_of(RSA).public_key()
    algorithms = (Algorithm.PS256, Algorithm.PS384, Algorithm.PS512, Algorithm.RS256)
    for made in algorithms:
        value = sign(made, Secret(RSA), b"data")
        assert [asked for asked in algorithms if is_signed_by(asked, public, b"data", value)] == [made]


def test_ecdsa_over_data_is_der_as_openssl_takes_it() -> None:
    private = private_key_of(PAIRS[Algorithm.ES256])
    public = private.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(
        sign(Algorithm.ES256, Secret(private_der(private)), b"data"), b"data", ec.ECDSA(hashes.SHA256())
    )


def test_keys_come_back_as_they_were_written() -> None:
    for der in PAIRS.values():
        private = private_key_of(der)
        assert private_der(private) == der
        assert private_der_of(private_pem(der)) == der
        assert public_der(public_key_of(public_der(private.public_key()))) == public_der(private.public_key())


@pytest.mark.parametrize(
    "der", [b"", b"0", b"a" * 100, RSA[:-1], public_der(private_key_of(RSA).public_key())]
)
def test_what_is_no_private_key_is_an_integrity_error(der: bytes) -> None:
    with pytest.raises(IntegrityError):
        private_key_of(der)


@pytest.mark.parametrize("der", [b"", b"0", b"a" * 100, RSA])
def test_what_is_no_public_key_is_an_integrity_error(der: bytes) -> None:
    with pytest.raises(IntegrityError):
        public_key_of(der)


def test_a_public_key_is_of_its_own_kind_and_length_only() -> None:
    lengths = {**ELLIPTIC, Algorithm.PS256: KeyLength.BITS_3072}
    for algorithm in lengths:
        public = private_key_of(PAIRS[algorithm]).public_key()
        matching = [other for other, size in lengths.items() if is_of(public, other, size)]
        assert matching == [algorithm]
    assert not is_of(private_key_of(RSA).public_key(), Algorithm.PS256, KeyLength.BITS_4096)
