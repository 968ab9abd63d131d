"""`keyturn list`, `keyturn show` and `keyturn usage`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated

from keyturn.audit.usage import UsageStatistics
from keyturn.cli import options, output
from keyturn.cli.opening import Work, opened
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.scope import KeyScope
from keyturn.issuing.cursors import DEFAULT_LIMIT, MAX_LIMIT
from keyturn.issuing.reading import KeyFilter, KeyPage
from keyturn.views import key_view, usage_view


def list_keys(
    *,
    owner: Annotated[str | None, options.text("--owner", "ID", "Keys of this owner.")] = None,
    key_type: Annotated[
        KeyType | None, options.choice("--type", "TYPE", "Keys of this type", KeyType)
    ] = None,
    scope: Annotated[
        KeyScope | None, options.choice("--scope", "SCOPE", "Keys of this scope", KeyScope)
    ] = None,
    state: Annotated[
        KeyState | None, options.choice("--state", "STATE", "Keys in this state", KeyState)
    ] = None,
    tag: Annotated[str | None, options.text("--tag", "TAG", "Keys with this tag.")] = None,
    prefix: Annotated[
        str | None, options.text("--prefix", "TEXT", "Keys whose token has this prefix.")
    ] = None,
    expires_before: Annotated[
        datetime | None, options.time("--expires-before", f"Keys that expire before {options.EXAMPLE_TIME}.")
    ] = None,
    unused_since: Annotated[
        datetime | None, options.time("--unused-since", f"Keys not used since {options.EXAMPLE_TIME}.")
    ] = None,
    q: Annotated[
        str | None, options.text("--q", "TEXT", "Keys with this in their name, key_id or owner.")
    ] = None,
    limit: Annotated[
        int | None,
        options.text("--limit", "COUNT", f"Keys a page, 1 to {MAX_LIMIT:,}; {DEFAULT_LIMIT} if absent."),
    ] = None,
    cursor: Annotated[str | None, options.text("--cursor", "CURSOR", "Go on where a page ended.")] = None,
    follow: Annotated[bool, options.switch("--all", "All pages, one after the other.")] = False,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """List keys, newest first."""
    matching = KeyFilter(
        owner=owner,
        type=key_type,
        scope=scope,
        state=state,
        tag=tag,
        prefix=prefix,
        expires_before=expires_before,
        unused_since=unused_since,
        q=q,
    )
    with opened(tenant) as work:
        size = (MAX_LIMIT if follow else DEFAULT_LIMIT) if limit is None else limit
        pages = _pages(work, matching, size, cursor, follow=follow)
        if as_json:
            output.write_json_list(
                ([key_view(key) for key in page.items], page.next_cursor) for page in pages
            )
        else:
            _write_pages(pages, work.node.clock.now())


def _pages(
    work: Work, matching: KeyFilter, size: int, cursor: str | None, *, follow: bool
) -> Iterator[KeyPage]:
    page = work.node.reader.list(work.by, matching, limit=size, cursor=cursor)
    yield page
    while follow and page.next_cursor is not None:
        page = work.node.reader.list(work.by, matching, limit=size, cursor=page.next_cursor)
        yield page


def _write_pages(pages: Iterator[KeyPage], now: datetime) -> None:
    count, more = 0, None
    for page in pages:
        if page.items:
            output.write_keys(page.items, now, with_header=count == 0)
        count += len(page.items)
        more = page.next_cursor
    if more is not None:
        output.note(f"There are more: --cursor {more} goes on, --all lists them all.")
    elif count == 0:
        output.note("There are no such keys.")


def show(
    *, key_id: options.KeyId, tenant: options.Tenant = DEFAULT_TENANT, as_json: options.AsJson = False
) -> None:
    """Show one key, without its secret."""
    with opened(tenant) as work:
        key = work.node.reader.get(key_id, work.by)
        if as_json:
            output.write_json(key_view(key))
        else:
            output.write_fields(output.key_fields(key, work.node.clock.now()))


def usage(
    *,
    key_id: options.KeyId,
    since: Annotated[
        datetime | None,
        options.time(
            "--since",
            f"From {options.EXAMPLE_TIME} on, or 7d for a week; 30d if absent.",
            options.instant_or_age,
        ),
    ] = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show how often a key was used and refused, and when last.

    Uses reach the store within seconds, not at once.
    """
    with opened(tenant) as work:
        key = work.node.reader.get(key_id, work.by)
        now = work.node.clock.now()
        statistics = work.node.usage.of(key.key_id, now, _start(since, now))
        if as_json:
            output.write_json(usage_view(statistics))
        else:
            _write_usage(statistics)


def _start(since: datetime | int | None, now: datetime) -> datetime | None:
    return now - timedelta(seconds=since) if isinstance(since, int) else since


def _write_usage(statistics: UsageStatistics) -> None:
    view = usage_view(statistics)
    by_minute = view.pop("by_minute")
    refused = view.pop("refused")
    view.pop("last_used_by_version")
    output.write_fields({**view, "refused": sum(refused.values())})
    by_day: Counter[str] = Counter()
    for minute in by_minute:
        by_day[minute["at"][:10]] += minute["count"]
    for title, counts in (("DAY", by_day), ("REFUSED", refused)):
        if counts:
            output.write("\n")
            output.write_counts(title, sorted(counts.items()))
