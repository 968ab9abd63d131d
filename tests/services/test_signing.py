"""Signing with stored keys: who may, when, and what still verifies afterwards."""

from __future__ import annotations

import base64
import hmac
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any, Final

import pytest

from keyturn.domain.key import Key, KeyType
from keyturn.domain.scope import KeyScope
from keyturn.domain.signature_check import SignatureCode
from keyturn.errors import (
    ForbiddenError,
    IllegalTransitionError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
)
from keyturn.key_generator import SecureKeyGenerator
from keyturn.key_store import SecureKeyStore
from keyturn.signing.jwt import MAX_CLAIMS_BYTES
from keyturn.signing.signer import MAX_DATA_BYTES
from tests.contract.ledger_stores import Store
from tests.fakes import BY, Process
from tests.services.samples import on_both

DATA: Final = b"the bytes that are signed"
KINDS: Final[list[dict[str, Any]]] = [
    {"key_type": KeyType.HMAC},
    {"key_type": KeyType.HMAC, "algorithm": "HS512"},
    {"key_type": KeyType.RSA},
    {"key_type": KeyType.RSA, "algorithm": "PS512"},
    {"key_type": KeyType.ECDSA},
    {"key_type": KeyType.ECDSA, "length": 384},
    {"key_type": KeyType.ECDSA, "length": 521},
]
ALGORITHMS: Final = ("EdDSA", "ES256", "PS256", "HS256", "RS256")


def issued(shop: SecureKeyStore, ours: Process, key_type: KeyType = KeyType.ECDSA, **more: Any) -> Key:
    scope = more.pop("key_scope", KeyScope.READ_WRITE)
    generator = SecureKeyGenerator(clock=ours.clock)
    return shop.store_key(generator.generate_api_key(key_type, scope, **more))


@on_both
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_a_key_signed_verifies_with_it_and_with_no_other(
    shop: SecureKeyStore, ours: Process, kind: dict[str, Any]
) -> None:
    key, other = issued(shop, ours, **kind), issued(shop, ours, **kind)
    signature = shop.sign(key.key_id, DATA)
    assert (signature.key_id, signature.version, signature.algorithm) == (key.key_id, 1, key.algorithm)
    assert shop.verify_signature(key.key_id, DATA, signature.value)
    for key_id, data, value in (
        (other.key_id, DATA, signature.value),
        (key.key_id, DATA + b"!", signature.value),
        (key.key_id, DATA, signature.value[:-1]),
        (key.key_id, DATA, b""),
        (key.key_id, DATA, b"\0" * 5_000),
    ):
        check = shop.verify_signature(key_id, data, value)
        assert (bool(check), check.code) == (False, SignatureCode.INVALID_SIGNATURE)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_says_what_was_signed_by_whom_and_until_when(
    shop: SecureKeyStore, ours: Process, algorithm: str
) -> None:
    key = issued(shop, ours, KeyType.JWT, algorithm=algorithm)
    signed = shop.sign_jwt(key.key_id, {"sub": "ada", "n": [1, None]}, expires_in=60)
    now = int(ours.clock.now().timestamp())
    check = shop.verify_jwt(signed.token)
    assert check.claims == {"sub": "ada", "n": [1, None], "iat": now, "exp": now + 60}
    assert (check.key_id, check.version, check.algorithm) == (key.key_id, 1, key.algorithm)
    header = json.loads(base64.urlsafe_b64decode(signed.token.partition(".")[0] + "=="))
    assert header == {"alg": algorithm, "kid": f"{key.key_id}.1", "typ": "JWT"}


def test_a_token_ends_at_its_exp_and_begins_at_its_nbf(shop: SecureKeyStore, ours: Process) -> None:
    key = issued(shop, ours, KeyType.JWT)
    now = int(ours.clock.now().timestamp())
    token = shop.sign_jwt(key.key_id, {"nbf": now + 10}, expires_in=60).token
    for seconds, code in ((9, "not_yet_valid"), (1, "valid"), (49, "valid"), (1, "expired")):
        ours.clock.pass_time(seconds)
        check = shop.verify_jwt(token)
        assert (check.code.value, check.claims is None) == (code, code != "valid")


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, claims, signature = token.split(".")
    return decoded(header), decoded(claims), signature


def decoded(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


def encoded(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_token_that_was_altered_or_made_by_somebody_else_is_refused(
    shop: SecureKeyStore, ours: Process
) -> None:
    key, other = issued(shop, ours, KeyType.JWT), issued(shop, ours, KeyType.JWT)
    token = shop.sign_jwt(key.key_id, {"sub": "ada"}).token
    header, claims, signature = parts(token)
    foreign = shop.sign_jwt(other.key_id, claims).token.split(".")[2]
    first, second, _ = token.split(".")

    def headed(**changes: object) -> str:
        return f"{encoded({**header, **changes})}.{second}.{signature}"

    def claiming(payload: object) -> str:
        return f"{first}.{encoded(payload)}.{signature}"

    cases = {
        "other claims": (claiming({**claims, "sub": "eve"}), "invalid_signature"),
        "the same claims in other bytes": (claiming(claims), "invalid_signature"),
        "another key's signature": (f"{first}.{second}.{foreign}", "invalid_signature"),
        "no signature": (f"{first}.{second}.", "invalid_signature"),
        "alg none": (headed(alg="none").rpartition(".")[0] + ".", "invalid_signature"),
        "another algorithm": (headed(alg="HS256"), "invalid_signature"),
        "another version": (headed(kid=f"{key.key_id}.2"), "not_found"),
        "a version in other digits": (headed(kid=f"{key.key_id}.01"), "not_found"),
        "no version": (headed(kid=key.key_id), "not_found"),
        "an unknown key": (headed(kid=f"key_{'0' * 22}.1"), "not_found"),
        "no key's name": (headed(kid="1"), "not_found"),
        "no kid": (headed(kid=None), "malformed"),
        "an extension that must be understood": (headed(crit=["b64"], b64=False), "malformed"),
        "two parts": (f"{first}.{second}", "malformed"),
        "no JSON": (claiming(b"{"), "malformed"),
        "no object": (claiming(b"[]"), "malformed"),
        "a member twice": (claiming(b'{"a":1,"a":2}'), "malformed"),
        "deep": (claiming(b"[" * 5_000), "malformed"),
        "half a character": (claiming(b'{"a":"\\ud800"}'), "malformed"),
        "not a number": (claiming(b'{"exp":NaN}'), "malformed"),
        "padding": (f"{token}==", "malformed"),
        "too long": (token + "A" * 20_000, "malformed"),
        "nothing": ("", "malformed"),
    }
    for name, (altered, code) in cases.items():
        check = shop.verify_jwt(altered)
        assert (check.code.value, check.claims) == (code, None), name
    assert shop.verify_jwt(token)


@pytest.mark.parametrize("named", ["none", "HS512", "ES256", "hs256"])
def test_the_algorithm_that_a_token_names_must_be_its_keys_though_its_signature_holds(
    shop: SecureKeyStore, ours: Process, named: str
) -> None:
    """RFC 8725, section 3.1: what others read in the header must not differ from what was verified here."""
    generated = ours.issue(key_type=KeyType.JWT, key_scope=KeyScope.READ_WRITE, algorithm="HS256")
    secret = base64.urlsafe_b64decode(generated.secret.reveal() + "==")

    def signed(algorithm: str) -> str:
        head = encoded({"alg": algorithm, "kid": f"{generated.key_id}.1"})
        text = f"{head}.{encoded({'sub': 'ada'})}"
        return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"

    assert shop.verify_jwt(signed("HS256"))
    assert shop.verify_jwt(signed(named)).code is SignatureCode.INVALID_SIGNATURE


def test_a_public_key_is_never_taken_for_a_secret(shop: SecureKeyStore, ours: Process) -> None:
    """The classic confusion: a token whose HMAC was made with the public key, which everybody has."""
    key = issued(shop, ours, KeyType.JWT, algorithm="PS256")
    version = ours.node.versions.list(key.key_id, BY).items[0].version
    assert version.public_key is not None
    signed = f"{encoded({'alg': 'HS256', 'kid': version.row_id})}.{encoded({'sub': 'eve'})}"
    forged = encoded(hmac.digest(version.public_key, signed.encode(), "sha256"))
    assert shop.verify_jwt(f"{signed}.{forged}").code is SignatureCode.INVALID_SIGNATURE


Act = Callable[[SecureKeyStore, Key], object]
ENDINGS: Final[dict[str, tuple[Act, str]]] = {
    "suspend": (lambda shop, key: shop.suspend_key(key.key_id), "suspended"),
    "revoke": (lambda shop, key: shop.revoke_key(key.key_id), "valid"),
    "compromise": (lambda shop, key: shop.revoke_key(key.key_id, "keyCompromise"), "revoked"),
    "destroy": (lambda shop, key: shop.destroy_key(key.key_id), "revoked"),
    "revoke the owner": (lambda shop, key: shop.revoke_owner("ada"), "valid"),
    "compromise the owner": (lambda shop, key: shop.revoke_owner("ada", "keyCompromise"), "revoked"),
}


@on_both
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_ended_key_signs_nothing_and_verifies_what_it_signed_unless_it_is_in_wrong_hands(
    shop: SecureKeyStore, ours: Process, theirs: Process, ending: str
) -> None:
    """SP 800-57 part 1, section 5.3: a deactivated key may still process."""
    key = issued(shop, ours, owner="ada")
    token_key = issued(shop, ours, KeyType.JWT, owner="ada")
    signature, token = shop.sign(key.key_id, DATA).value, shop.sign_jwt(token_key.key_id, {}).token
    act, code = ENDINGS[ending]
    for each in (key, token_key):
        act(theirs.store(), each)
    with pytest.raises(IllegalTransitionError):
        shop.sign(key.key_id, DATA)
    with pytest.raises(IllegalTransitionError):
        shop.sign_jwt(token_key.key_id, {})
    assert shop.verify_signature(key.key_id, DATA, signature).code.value == code
    assert shop.verify_jwt(token).code.value == code
    # What does not hold never becomes valid by the key's end.
    assert not shop.verify_signature(key.key_id, DATA + b"!", signature)


def test_a_key_signs_within_its_window_only(shop: SecureKeyStore, ours: Process) -> None:
    now = ours.clock.now()
    key = issued(shop, ours, not_before=now + timedelta(seconds=10), expires_at=now + timedelta(seconds=20))
    with pytest.raises(IllegalTransitionError):
        shop.sign(key.key_id, DATA)
    ours.clock.pass_time(10)
    signature = shop.sign(key.key_id, DATA).value
    ours.clock.pass_time(10)
    with pytest.raises(IllegalTransitionError):
        shop.sign(key.key_id, DATA)
    assert shop.verify_signature(key.key_id, DATA, signature)


@pytest.mark.parametrize(
    ("scope", "signs", "verifies"),
    [
        (KeyScope.READ, False, True),
        (KeyScope.WRITE, True, False),
        (KeyScope.READ_WRITE, True, True),
        (KeyScope.ADMIN, False, False),
        (KeyScope.FULL, True, True),
    ],
)
def test_write_signs_and_read_verifies(
    shop: SecureKeyStore, ours: Process, scope: KeyScope, signs: bool, verifies: bool
) -> None:
    key = issued(shop, ours, key_scope=scope)
    token_key = issued(shop, ours, KeyType.JWT, key_scope=scope)
    kid = f"{token_key.key_id}.1"
    token = f"{encoded({'alg': 'EdDSA', 'kid': kid})}.{encoded({})}.{encoded(b'a' * 64)}"
    calls: list[tuple[bool, Callable[[], object]]] = [
        (signs, lambda: shop.sign(key.key_id, DATA)),
        (signs, lambda: shop.sign_jwt(token_key.key_id, {})),
        (verifies, lambda: shop.verify_signature(key.key_id, DATA, b"x")),
        (verifies, lambda: shop.verify_jwt(token)),
    ]
    for may, call in calls:
        if may:
            call()
        else:
            with pytest.raises(ForbiddenError) as refused:
                call()
            assert "scope" in refused.value.fix


def test_each_type_does_what_it_is_for_and_nothing_else(shop: SecureKeyStore, ours: Process) -> None:
    """One key, one purpose: a key that signs any bytes could be made to sign a token."""
    token = issued(shop, ours, KeyType.API_TOKEN)
    data_key, jwt_key = issued(shop, ours), issued(shop, ours, KeyType.JWT)
    for call in (
        lambda: shop.sign(token.key_id, DATA),
        lambda: shop.sign_jwt(token.key_id, {}),
        lambda: shop.verify_signature(token.key_id, DATA, b"x"),
        lambda: shop.sign(jwt_key.key_id, DATA),
        lambda: shop.verify_signature(jwt_key.key_id, DATA, b"x"),
        lambda: shop.sign_jwt(data_key.key_id, {}),
    ):
        with pytest.raises(InvalidInputError) as refused:
            call()
        assert refused.value.field == "key_id"
        assert refused.value.fix


def test_another_tenants_key_is_as_unknown_as_one_that_is_not_there(
    shop: SecureKeyStore, ours: Process
) -> None:
    foreign = ours.store(tenant="other")
    key, jwt_key = issued(foreign, ours), issued(foreign, ours, KeyType.JWT)
    signature, token = foreign.sign(key.key_id, DATA).value, foreign.sign_jwt(jwt_key.key_id, {}).token
    assert foreign.verify_jwt(token)
    for call in (
        lambda: shop.sign(key.key_id, DATA),
        lambda: shop.verify_signature(key.key_id, DATA, signature),
        lambda: shop.sign_jwt(jwt_key.key_id, {}),
    ):
        with pytest.raises(NotFoundError, match="no such key"):
            call()
    assert shop.verify_jwt(token).code is SignatureCode.NOT_FOUND


def test_what_is_signed_is_bounded(shop: SecureKeyStore, ours: Process) -> None:
    key, jwt_key = issued(shop, ours, KeyType.HMAC), issued(shop, ours, KeyType.JWT)
    assert shop.verify_signature(key.key_id, b"", shop.sign(key.key_id, b"").value)
    shop.sign(key.key_id, b"a" * MAX_DATA_BYTES)
    shop.sign_jwt(jwt_key.key_id, {"a": "a" * (MAX_CLAIMS_BYTES - 100)})
    assert shop.verify_jwt(shop.sign_jwt(jwt_key.key_id, {"a": json.loads("[" * 15 + "]" * 15)}).token)
    refused: list[tuple[str, Callable[[], object]]] = [
        ("data", lambda: shop.sign(key.key_id, b"a" * (MAX_DATA_BYTES + 1))),
        ("data", lambda: shop.sign(key.key_id, "text")),  # type: ignore[arg-type]
        ("claims", lambda: shop.sign_jwt(jwt_key.key_id, {"a": "a" * MAX_CLAIMS_BYTES})),
        ("claims", lambda: shop.sign_jwt(jwt_key.key_id, {"a": b""})),
        ("claims", lambda: shop.sign_jwt(jwt_key.key_id, {"a": float("nan")})),
        ("claims", lambda: shop.sign_jwt(jwt_key.key_id, {"a": "\ud800"})),
        ("claims", lambda: shop.sign_jwt(jwt_key.key_id, {"a": json.loads("[" * 16 + "]" * 16)})),
        ("claims", lambda: shop.sign_jwt(jwt_key.key_id, {"1": 1, 1: 2})),  # type: ignore[dict-item]
        ("claims", lambda: shop.sign_jwt(jwt_key.key_id, [("a", 1)])),  # type: ignore[arg-type]
        ("claims.exp", lambda: shop.sign_jwt(jwt_key.key_id, {"exp": "tomorrow"})),
        ("expires_in", lambda: shop.sign_jwt(jwt_key.key_id, {}, expires_in=0)),
        ("expires_in", lambda: shop.sign_jwt(jwt_key.key_id, {"exp": 1}, expires_in=1)),
        ("expires_in", lambda: shop.sign_jwt(jwt_key.key_id, {}, expires_in=10**30)),
        ("token", lambda: shop.verify_jwt(b"a.b.c")),  # type: ignore[arg-type]
        ("signature", lambda: shop.verify_signature(key.key_id, b"", "text")),  # type: ignore[arg-type]
        ("version", lambda: shop.verify_signature(key.key_id, b"", b"", version="1")),  # type: ignore[arg-type]
    ]
    for field, call in refused:
        with pytest.raises(InvalidInputError) as error:
            call()
        assert error.value.field == field


def test_signatures_are_counted_as_uses(shop: SecureKeyStore, ours: Process) -> None:
    key = issued(shop, ours)
    for _ in range(3):
        shop.sign(key.key_id, DATA)
    assert shop.get_usage_statistics(key.key_id).total == 3


def test_a_private_key_comes_back_as_pem_and_its_reading_is_an_entry(
    shop: SecureKeyStore, ours: Process
) -> None:
    generated = SecureKeyGenerator(clock=ours.clock).generate_api_key(KeyType.ECDSA, KeyScope.READ_WRITE)
    shop.store_key(generated)
    secret = shop.retrieve_key(generated.key_id).secret
    assert secret is not None
    assert secret.reveal() == generated.secret.reveal()
    assert shop.get_audit_log(key_id=generated.key_id)[-1].type == "key_retrieved"


def test_material_that_was_moved_signs_nothing(shop: SecureKeyStore, ours: Process, place: Store) -> None:
    """A database writer who gives one key another one's material."""
    first, second = issued(shop, ours), issued(shop, ours)
    with closing(sqlite3.connect(place.url.removeprefix("sqlite:///"))) as database, database:
        database.execute(
            "UPDATE rows SET material = (SELECT material FROM rows WHERE id = ?) WHERE id = ?",
            (f"{second.key_id}.1", f"{first.key_id}.1"),
        )
    with pytest.raises(IntegrityError):
        shop.sign(first.key_id, DATA)
    shop.sign(second.key_id, DATA)


# -- what a token is, by whom and for whom (RFC 8725) ---------------------------------------------------------------


def test_a_token_passes_for_what_it_is_and_for_nothing_else(shop: SecureKeyStore, ours: Process) -> None:
    """Sections 3.8, 3.9 and 3.11: a token that was made for one purpose must not do for another."""
    key = issued(shop, ours, KeyType.JWT)
    meant: dict[str, Any] = {"issuer": "https://a", "audience": "https://b", "typ": "at+jwt"}
    token = shop.sign_jwt(key.key_id, {"sub": "ada"}, **meant).token
    header, claims, _ = parts(token)
    assert (header["typ"], claims["iss"], claims["aud"]) == ("at+jwt", "https://a", "https://b")
    check = shop.verify_jwt(token, **meant)
    assert check.claims == claims
    cases: list[tuple[dict[str, str], str]] = [
        ({"audience": "https://b", "typ": "at+jwt"}, "valid"),
        ({**meant, "typ": "AT+JWT"}, "valid"),
        ({**meant, "typ": "application/at+jwt"}, "valid"),
        ({}, "wrong_type"),
        ({**meant, "typ": "JWT"}, "wrong_type"),
        ({**meant, "typ": "dpop+jwt"}, "wrong_type"),
        ({**meant, "issuer": "https://a/"}, "wrong_issuer"),
        ({**meant, "issuer": "https://A"}, "wrong_issuer"),
        ({**meant, "audience": "https://c"}, "wrong_audience"),
        ({"issuer": "https://a", "typ": "at+jwt"}, "wrong_audience"),
    ]
    for asked, code in cases:
        check = shop.verify_jwt(token, **asked)
        assert (check.code.value, check.claims is None) == (code, code != "valid"), asked
    # Who cannot show a signature learns nothing of what would be expected.
    assert shop.verify_jwt(token[:-4] + "AAAA", typ="JWT").code is SignatureCode.INVALID_SIGNATURE


@pytest.mark.parametrize(
    ("claims", "asked", "code"),
    [
        ({}, {}, "valid"),
        ({}, {"issuer": "a"}, "wrong_issuer"),
        ({"iss": ["a"]}, {"issuer": "a"}, "wrong_issuer"),
        ({"iss": "a"}, {}, "valid"),
        ({}, {"audience": "b"}, "wrong_audience"),
        ({"aud": "b"}, {}, "wrong_audience"),
        ({"aud": []}, {}, "wrong_audience"),
        ({"aud": ["x", "b"]}, {"audience": "b"}, "valid"),
        ({"aud": ["x", "bb"]}, {"audience": "b"}, "wrong_audience"),
        ({"aud": "abc"}, {"audience": "b"}, "wrong_audience"),
        ({"aud": None}, {"audience": "b"}, "malformed"),
        ({"aud": ["b", 1]}, {"audience": "b"}, "malformed"),
        ({"aud": {"b": 1}}, {"audience": "b"}, "malformed"),
    ],
)
def test_issuer_and_audience_are_compared_as_they_are(
    shop: SecureKeyStore, ours: Process, claims: dict[str, Any], asked: dict[str, str], code: str
) -> None:
    key = issued(shop, ours, KeyType.JWT)
    token = shop.sign_jwt(key.key_id, claims).token
    assert shop.verify_jwt(token, **asked).code.value == code


def test_a_header_without_a_type_is_that_of_a_jwt_and_of_nothing_else(ours: Process) -> None:
    generated = ours.issue(key_type=KeyType.JWT, key_scope=KeyScope.READ_WRITE, algorithm="HS256")
    secret = base64.urlsafe_b64decode(generated.secret.reveal() + "==")
    head = encoded({"alg": "HS256", "kid": f"{generated.key_id}.1"})
    text = f"{head}.{encoded({'sub': 'ada'})}"
    token = f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"
    assert ours.store().verify_jwt(token)
    assert ours.store().verify_jwt(token, typ="at+jwt").code is SignatureCode.WRONG_TYPE


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("typ", {"typ": ""}), ("typ", {"typ": "a b"}), ("typ", {"typ": "a" * 65}), ("typ", {"typ": 1}),
        ("issuer", {"issuer": ""}), ("issuer", {"issuer": 1}), ("audience", {"audience": ""}),
        ("audience", {"audience": ["b"]}),
    ],
)  # fmt: skip
def test_what_is_said_of_a_token_is_checked(
    shop: SecureKeyStore, ours: Process, field: str, said: dict[str, Any]
) -> None:
    key = issued(shop, ours, KeyType.JWT)
    token = shop.sign_jwt(key.key_id, {}).token
    for call in (lambda: shop.sign_jwt(key.key_id, {}, **said), lambda: shop.verify_jwt(token, **said)):
        with pytest.raises(InvalidInputError) as refused:
            call()
        assert (refused.value.field, bool(refused.value.fix)) == (field, True)


def test_issuer_and_audience_are_said_once(shop: SecureKeyStore, ours: Process) -> None:
    key = issued(shop, ours, KeyType.JWT)
    for claims, said in (({"iss": "a"}, {"issuer": "a"}), ({"aud": "b"}, {"audience": "b"})):
        with pytest.raises(InvalidInputError, match="already"):
            shop.sign_jwt(key.key_id, claims, **said)  # type: ignore[arg-type]
