"""Many keys at once: all of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import Field

from keyturn.domain import canonical
from keyturn.domain.bodies import key_put
from keyturn.domain.change import MAX_EVENTS, Put
from keyturn.domain.foreign import ImportedToken
from keyturn.domain.key import Key
from keyturn.domain.principal import Principal
from keyturn.domain.spec import GeneratedKey, KeySpec
from keyturn.errors import ForbiddenError, InvalidInputError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.ports.clock import Clock
from keyturn.records.rows import MAX_BODY_BYTES
from keyturn.server.access import MayCreate, TheGenerator, TheNode
from keyturn.server.idempotency import Keep, Once
from keyturn.server.importing import made, spec_of
from keyturn.server.models import EXAMPLES, Body, Closed, IssuedKeyBody, NewKey, example
from keyturn.server.openapi import CONFLICT, REPLAYABLE
from keyturn.views import issued_view

MAX_BATCH: Final = MAX_EVENTS

router = APIRouter(prefix="/v1", tags=["keys"])


class NewKeys(Closed):
    """Keys to be issued together."""

    model_config = example(items=[{"owner": "user_42"}, {"owner": "user_43", "scope": "read_write"}])

    items: Annotated[list[NewKey], Field(min_length=1, max_length=MAX_BATCH)]


class IssuedKeysBody(Body):
    """New keys, in the order in which they were asked for."""

    model_config = example(items=EXAMPLES["IssuedKeyBody"])

    items: list[IssuedKeyBody]


@router.post(
    "/keys/batch", status_code=201, response_model=IssuedKeysBody, responses={**REPLAYABLE, **CONFLICT}
)
def issue_keys(
    wanted: NewKeys, node: TheNode, generator: TheGenerator, by: MayCreate, once: Once
) -> Response:
    """Issue or import up to 1,000 keys in one commit: all or none. The answer shows their secrets, this once."""

    def make(keep: Keep) -> None:
        specs = _specs(wanted.items, by, node.clock)
        pairs = zip(wanted.items, specs, strict=True)
        generated = [_made(number, *pair, generator) for number, pair in enumerate(pairs)]

        def beside(keys: list[Key]) -> tuple[Put, ...]:
            _check_sizes(keys)
            views = [issued_view(*pair) for pair in zip(keys, generated, strict=True)]
            return keep({"items": views}, [key.key_id for key in keys])

        node.issuer.issue_all(generated, by, beside=beside)

    return once.answer(by, make)


def _specs(items: list[NewKey], by: Principal, clock: Clock) -> list[KeySpec]:
    """What is to be made, once each item was found to be one that the caller may have."""
    specs = []
    for number, item in enumerate(items):
        with _naming(number):
            specs.append(spec_of(item, clock))
            by.require_grantable(specs[-1].permissions, specs[-1].scope)
    return specs


def _made(
    number: int, item: NewKey, spec: KeySpec, generator: SecureKeyGenerator
) -> GeneratedKey | ImportedToken:
    with _naming(number):
        return made(item, spec, generator)


def _check_sizes(keys: list[Key]) -> None:
    """Each field of a key has a bound of its own, and its row has one for all of them."""
    for number, key in enumerate(keys):
        if len(canonical.encode(key_put(key).body).encode()) > MAX_BODY_BYTES:
            raise InvalidInputError(
                f"all fields of a key take {MAX_BODY_BYTES:,} bytes at most",
                field=_field(number),
                fix="Shorten its metadata, permissions or tags.",
            )


@contextmanager
def _naming(number: int) -> Iterator[None]:
    """Errors within are those of this item."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(str(error), field=_field(number, error.field), fix=error.fix) from None
    except ForbiddenError as error:
        raise ForbiddenError(f"{_field(number)}: {error}", fix=error.fix) from None


def _field(number: int, field: str = "") -> str:
    return f"items.{number}.{field}" if field else f"items.{number}"
