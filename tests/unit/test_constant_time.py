"""What is secret is compared in constant time, everywhere in the source (ASVS 11.2.4)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import keyturn

SOURCE: Final = Path(keyturn.__file__).parent
SECRETIVE: Final = re.compile(
    r"reveal|secret|mac$|commitment|signature$|seal$|digest|check_value|_value$|expected", re.IGNORECASE
)
# Digests of what the store holds, which whoever tries them can read there; and of a whole presented token, of which
# one controls the input of SHA-256 alone.
PUBLIC: Final = (
    "mark.digest != self._known.digest",
    "_packed(revision, digest) == mark",
    "self._marks.get(mark.id) == _packed(mark.revision, mark.digest)",
    "known.digest != token_digest(token)",
    "entry.digest != token_digest(token)",
    "loaded.entry.digest != token_digest(token)",
    "version.hashed.is_keyed == (version.digest is not None)",
)


def compared() -> Iterator[str]:
    """Comparisons for equality of what has the name of a secret; how long one is may be known."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
                if any(SECRETIVE.search(side) and not side.startswith("len(") for side in sides):
                    yield ast.unparse(node)


def test_nothing_secret_is_compared_byte_by_byte() -> None:
    # Two of type Secret are compared by hmac.compare_digest.
    found = [text for text in compared() if not re.fullmatch(r".+\.secret == .+\.secret", text)]
    assert [text for text in found if text not in PUBLIC and "_BYTES" not in text] == []
