"""The formats of notices, held against vectors that were computed without Keyturn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn.crypto.keyring import Keyring
from keyturn.crypto.webhooks import signatures
from keyturn.domain import canonical
from keyturn.domain.notices.deliveries import Deliveries
from keyturn.domain.notices.endpoint import Signing, endpoint_from, endpoint_put
from keyturn.domain.notices.sweep import sweep_from, sweep_put
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError
from keyturn.notices.states import _mac

VECTORS: Final[Any] = json.loads((Path(__file__).parents[1] / "vectors" / "notices.json").read_text("utf-8"))


@pytest.mark.parametrize("vector", VECTORS["rows"], ids=lambda each: each["name"])
def test_a_body_is_read_and_written_as_it_is(vector: dict[str, str]) -> None:
    body: Any = canonical.decode(vector["body"])
    assert canonical.encode(endpoint_put(endpoint_from(body, None)).body) == vector["body"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda each: each["name"])
def test_a_body_that_this_program_does_not_write_is_refused(vector: dict[str, str]) -> None:
    body: Any = canonical.decode(vector["body"])
    with pytest.raises(IntegrityError):
        endpoint_from(body, None)


@pytest.mark.parametrize("vector", VECTORS["sweeps"], ids=lambda each: each["name"])
def test_a_sweep_is_read_and_written_as_it_is(vector: dict[str, str]) -> None:
    body: Any = canonical.decode(vector["body"])
    assert canonical.encode(sweep_put(sweep_from(body)).body) == vector["body"]


@pytest.mark.parametrize("vector", VECTORS["refused_sweeps"], ids=lambda each: each["name"])
def test_a_sweep_that_this_program_does_not_write_is_refused(vector: dict[str, str]) -> None:
    body: Any = canonical.decode(vector["body"])
    with pytest.raises(IntegrityError):
        sweep_from(body)


def test_the_signature_is_the_standards() -> None:
    told = VECTORS["signature"]
    made = signatures(
        Signing.HMAC,
        [Secret(bytes.fromhex(told["secret"]))],
        told["webhook-id"],
        int(told["webhook-timestamp"]),
        told["body"].encode(),
    )
    assert made == told["webhook-signature"]


def test_a_state_is_sealed_for_its_endpoint_and_turn() -> None:
    told = VECTORS["state"]
    keyring = Keyring({1: bytes(32)}, 1, bytes.fromhex(told["lookup_key"]), "0123456789ABCDEF")
    assert _mac(keyring, told["endpoint"], told["turn"], told["json"]).hex() == told["mac"]
    assert Deliveries.decoded(told["json"]).encoded() == told["json"]
