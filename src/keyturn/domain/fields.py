"""What callers may write into a key, and how much of it. Each check returns what it was given, or a canonical form.

All raise InvalidInputError with the field's name. Text is kept as written: nothing is trimmed, folded or normalised,
for what was sent and what is stored would then differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from keyturn.domain import canonical
from keyturn.domain.ids import KEY, SYSTEM_TENANT, is_id
from keyturn.domain.network import parse_network
from keyturn.domain.permissions import check_grant
from keyturn.domain.token import PREFIX_PATTERN
from keyturn.errors import InvalidInputError

MAX_TENANT_CHARACTERS: Final = 63  # a DNS label
MAX_OWNER_CHARACTERS: Final = 256
MAX_NAME_CHARACTERS: Final = 256
MAX_TAG_CHARACTERS: Final = 64
MAX_NOTE_CHARACTERS: Final = 1_024
MAX_POLICY_ID_CHARACTERS: Final = 64
MAX_TAGS: Final = 64
MAX_PERMISSIONS: Final = 256
MAX_NETWORKS: Final = 64
MAX_METADATA_BYTES: Final = 16_384  # of canonical JSON in UTF-8
MAX_METADATA_DEPTH: Final = 8  # objects and arrays, the outermost included
MAX_METADATA_NAME_CHARACTERS: Final = 128

POLICY_ID_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_POLICY_ID: Final = re.compile(POLICY_ID_PATTERN)
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PREFIX: Final = re.compile(PREFIX_PATTERN)
# Controls (C0, DEL, C1), line and paragraph separators, half surrogates, and what reorders or hides text: in a log or
# on a page it would make one name look like another. Joiners (U+200C, U+200D) stay: Persian and emoji need them.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)
_SLASH: Final = re.compile(r"[/\\]")  # browsers take one for the other
_RESOLVED: Final = frozenset((".", ".."))
_NOT_TEXT: Final = re.compile("[\x00\ud800-\udfff]")


def check_tenant(tenant: str) -> str:
    """A tenant's name: 1 to 63 of a-z, 0-9, `_` and `-`, not beginning with `_` or `-`, and not `system`."""
    if not isinstance(tenant, str) or _TENANT.fullmatch(tenant) is None:
        raise InvalidInputError(
            f"a tenant has 1 to {MAX_TENANT_CHARACTERS} characters of a-z, 0-9, '_', '-', the first a letter or digit",
            field="tenant",
        )
    if tenant == SYSTEM_TENANT:
        raise InvalidInputError(
            f"the tenant '{SYSTEM_TENANT}' is reserved", field="tenant", fix="Choose another name."
        )
    return tenant


def check_owner(owner: str) -> str:
    """The caller's own id for an owner: 1 to 256 printable characters, no space at either end.

    It may hold slashes, but not `.` or `..` as a part between them: clients resolve these in a path before the server
    sees it, and would name another owner.
    """
    _check_text(owner, "owner", MAX_OWNER_CHARACTERS)
    if not _RESOLVED.isdisjoint(_SLASH.split(owner)):
        raise InvalidInputError(
            "an owner has no part that is '.' or '..'", field="owner", fix="Choose another id."
        )
    return owner


def check_name(name: str) -> str:
    """A name for people: 1 to 256 printable characters, no space at either end."""
    return _check_text(name, "name", MAX_NAME_CHARACTERS)


def check_note(note: str) -> str:
    """A note on an act, for the audit log's details: 1 to 1,024 printable characters, no space at either end."""
    return _check_text(note, "note", MAX_NOTE_CHARACTERS)


def check_tag(tag: str) -> str:
    """A tag: 1 to 64 printable characters, no space at either end."""
    return _check_text(tag, "tags", MAX_TAG_CHARACTERS)


def check_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """At most 64 tags, in their order, none twice."""
    return _check_each(tags, "tags", MAX_TAGS, check_tag)


def check_permissions(grants: Sequence[str]) -> tuple[str, ...]:
    """At most 256 grants, in their order, none twice."""
    return _check_each(grants, "permissions", MAX_PERMISSIONS, check_grant)


def check_networks(networks: Sequence[str]) -> tuple[str, ...]:
    """The canonical texts of at most 64 addresses and networks, in their order, none twice."""
    return _check_each(networks, "allowed_ips", MAX_NETWORKS, parse_network)


def check_key_id(key_id: str) -> str:
    """A key's id; InvalidInputError for what cannot be one."""
    if not is_id(KEY, key_id):
        raise InvalidInputError(
            "that is no key_id", field="key_id", fix="A key_id is 'key_' and 22 letters and digits."
        )
    return key_id


def check_policy_id(policy_id: str) -> str:
    """A rotation policy's name: 1 to 64 letters, digits, `_`, `-` and `.`, the first a letter or a digit."""
    if not isinstance(policy_id, str) or _POLICY_ID.fullmatch(policy_id) is None:
        raise InvalidInputError(
            f"a policy_id has 1 to {MAX_POLICY_ID_CHARACTERS} letters, digits, '_', '-' and '.'",
            field="policy_id",
            fix="Such as monthly_rotation.",
        )
    return policy_id


def check_prefix(prefix: str) -> str:
    """A token's prefix: 1 to 32 of a-z, 0-9 and `_`."""
    if not isinstance(prefix, str) or _PREFIX.fullmatch(prefix) is None:
        raise InvalidInputError(
            "a prefix has 1 to 32 characters of a-z, 0-9 and '_'", field="prefix", fix="Such as acme_live."
        )
    return prefix


def check_metadata(metadata: Mapping[str, object]) -> dict[str, object]:
    """A copy of a JSON object, as it will be stored, so that nobody can change it after it was checked.

    At most 16 KiB of canonical JSON, 8 levels deep, without floats, with names of at most 128 characters.
    """
    if not isinstance(metadata, Mapping):
        raise InvalidInputError("metadata is a JSON object", field="metadata")
    members = dict(metadata)
    _check_json(members, MAX_METADATA_DEPTH)
    try:
        text = canonical.encode(members)
    except InvalidInputError as error:
        raise InvalidInputError(f"metadata: {error}", field="metadata", fix=error.fix) from None
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise InvalidInputError(
            f"metadata has at most {MAX_METADATA_BYTES:,} bytes as JSON",
            field="metadata",
            fix="Keep the data in your own store, and a reference to them here.",
        )
    copied: dict[str, object] = json.loads(text)
    return copied


def _check_json(value: object, depth: int) -> None:
    """What metadata forbid beyond canonical JSON; `depth` is how many levels may still open."""
    if isinstance(value, str):
        if _NOT_TEXT.search(value):
            raise InvalidInputError("metadata cannot hold U+0000 or half a surrogate pair", field="metadata")
        return
    if not isinstance(value, (dict, list, tuple)):
        return
    if not depth:
        raise InvalidInputError(f"metadata nest at most {MAX_METADATA_DEPTH} deep", field="metadata")
    for item in value:
        _check_json(item, depth - 1)
        if isinstance(value, dict):
            if isinstance(item, str) and len(item) > MAX_METADATA_NAME_CHARACTERS:
                raise InvalidInputError(
                    f"a name in metadata has at most {MAX_METADATA_NAME_CHARACTERS} characters",
                    field="metadata",
                )
            _check_json(value[item], depth - 1)


def _check_text(text: str, field: str, longest: int) -> str:
    if not isinstance(text, str) or not 1 <= len(text) <= longest:
        raise InvalidInputError(f"{field}: 1 to {longest} characters of text", field=field)
    if _UNPRINTABLE.search(text):
        raise InvalidInputError(
            f"{field}: control characters, line breaks and invisible characters are refused", field=field
        )
    if text != text.strip():
        raise InvalidInputError(
            f"{field}: a space at the beginning or the end", field=field, fix="Leave it out."
        )
    return text


def _check_each(items: Sequence[str], field: str, most: int, check: Callable[[str], str]) -> tuple[str, ...]:
    # A str is a sequence of its characters: "read" would be four permissions.
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise InvalidInputError(f"{field}: a list of texts", field=field)
    if len(items) > most:
        raise InvalidInputError(f"{field}: at most {most}, not {len(items)}", field=field)
    checked = tuple(check(item) for item in items)
    if len(set(checked)) < len(checked):
        raise InvalidInputError(f"{field}: one is given twice", field=field, fix="Leave the second one out.")
    return checked
