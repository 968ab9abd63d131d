import hashlib

from keyturn.crypto.digests import token_digest
from tests.unit.crypto.samples import vectors

TOKEN = vectors("token")["valid"][0]["token"]


def test_a_digest_is_over_the_whole_token() -> None:
    """Prefix and checksum included, so that a look-up by digest decides on all that was presented."""
    assert token_digest(TOKEN) == hashlib.sha256(TOKEN.encode("ascii")).digest()
    assert token_digest(TOKEN) != token_digest(TOKEN[:-1])
    assert token_digest(TOKEN) != token_digest(TOKEN.partition("_")[2])


def test_every_character_counts() -> None:
    swapped = {TOKEN[:at] + TOKEN[at].swapcase() + TOKEN[at + 1 :] for at in range(len(TOKEN))}
    assert len({token_digest(text) for text in swapped}) == len(swapped)
