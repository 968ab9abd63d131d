from __future__ import annotations

from tests.fakes import ours, site, theirs

__all__ = ["ours", "site", "theirs"]
