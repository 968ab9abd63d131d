"""Secrets that are read back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from keyturn.domain.key import KeyType
from keyturn.server.access import MayReveal, TheNode
from keyturn.server.models import Body, example
from keyturn.server.openapi import CONFLICT
from keyturn.server.schemas import EXAMPLE_KEY_ID, EXAMPLE_TOKEN, KEY_ID_PATTERN, KeyId, shown
from keyturn.views import View, secret_view

router = APIRouter(prefix="/v1", tags=["keys"])


class SecretBody(Body):
    """A key's secret."""

    model_config = example(key_id=EXAMPLE_KEY_ID, version=1, type="api_token", key=EXAMPLE_TOKEN)

    key_id: Annotated[str, shown(pattern=KEY_ID_PATTERN)]
    version: Annotated[int, Field(description="Number of the version whose secret it is.")]
    type: KeyType
    key: Annotated[str, Field(description="The whole token, or the material of a signing key.")]


@router.get("/keys/{key_id}/secret", response_model=SecretBody, responses=CONFLICT)
def get_key_secret(key_id: KeyId, node: TheNode, by: MayReveal) -> View:
    """Read back the secret of a key that serves: of a signing key, or of a token that was issued as recoverable.

    Each time is an entry in the audit log, which is there before the secret is handed out. The caller's key must be
    able to grant what the key may do.
    """
    return secret_view(node.reader.material(key_id, by))
