-- The ledger's tables. Text compares bytewise (BINARY, the default), as in every other store.
-- Applied by `keyturn init` and at start, one file after the other, in one transaction.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Positions are dense and in commit order: the writer takes the last one and adds one, under the write lock.
CREATE TABLE log (
    position INTEGER PRIMARY KEY CHECK (position >= 1),
    entry    BLOB NOT NULL CHECK (length(entry) <= 65535),
    seal     BLOB NOT NULL,
    hash     BLOB NOT NULL CHECK (length(hash) = 32),
    details  TEXT
) STRICT;

-- The columns after `position` are generated from the body, so that no writer can make them differ from it.
CREATE TABLE rows (
    id            TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL,
    tenant        TEXT NOT NULL,
    revision      INTEGER NOT NULL CHECK (revision >= 1),
    body          TEXT NOT NULL,
    seal          BLOB NOT NULL,
    material      BLOB,
    created       INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    credential_id TEXT GENERATED ALWAYS AS (CASE WHEN kind = 'version' THEN json_extract(body, '$.credential_id') END) VIRTUAL,
    key_id        TEXT GENERATED ALWAYS AS (CASE WHEN kind = 'version' THEN json_extract(body, '$.key') END) VIRTUAL,
    owner         TEXT GENERATED ALWAYS AS (CASE WHEN kind = 'key' THEN json_extract(body, '$.owner.id') END) VIRTUAL,
    owner_row     TEXT GENERATED ALWAYS AS (CASE WHEN kind = 'key' THEN json_extract(body, '$.owner.row') END) VIRTUAL,
    type          TEXT GENERATED ALWAYS AS (CASE WHEN kind = 'key' THEN json_extract(body, '$.type') END) VIRTUAL,
    scope         TEXT GENERATED ALWAYS AS (CASE WHEN kind = 'key' THEN json_extract(body, '$.scope') END) VIRTUAL,
    state         TEXT GENERATED ALWAYS AS (CASE WHEN kind = 'key' THEN json_extract(body, '$.state') END) VIRTUAL,
    prefix        TEXT GENERATED ALWAYS AS (CASE WHEN kind = 'key' THEN json_extract(body, '$.prefix') END) VIRTUAL,
    name          TEXT GENERATED ALWAYS AS (CASE WHEN kind = 'key' THEN json_extract(body, '$.name') END) VIRTUAL,
    expires_at    INTEGER GENERATED ALWAYS AS (CASE WHEN kind = 'key' THEN json_extract(body, '$.expires_at') END) VIRTUAL,
    CHECK (expires_at IS NULL OR typeof(expires_at) = 'integer') -- STRICT does not look into virtual columns
) STRICT;

CREATE UNIQUE INDEX rows_credential ON rows (credential_id) WHERE credential_id IS NOT NULL;
CREATE INDEX rows_versions ON rows (key_id, created) WHERE kind = 'version';
CREATE INDEX rows_newest ON rows (tenant, created, id) WHERE kind = 'key';
CREATE INDEX rows_newest_of_owner ON rows (tenant, owner, created, id) WHERE kind = 'key' AND owner IS NOT NULL;
CREATE INDEX rows_newest_of_type ON rows (tenant, type, created, id) WHERE kind = 'key';
CREATE INDEX rows_newest_in_state ON rows (tenant, state, created, id) WHERE kind = 'key';
CREATE INDEX rows_owned ON rows (tenant, owner, id) WHERE kind = 'key' AND owner IS NOT NULL;
CREATE INDEX rows_expiring ON rows (expires_at, id) WHERE kind = 'key' AND state = 'active' AND expires_at IS NOT NULL;

-- A key's tags, one line each: an index cannot hold several values of one row. Only the triggers write here.
-- A key's tenant, like its kind, never changes.
CREATE TABLE tags (
    tenant  TEXT NOT NULL,
    tag     TEXT NOT NULL,
    created INTEGER NOT NULL,
    id      TEXT NOT NULL,
    PRIMARY KEY (tenant, tag, created, id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER rows_tagged AFTER INSERT ON rows WHEN new.kind = 'key' BEGIN
    INSERT OR IGNORE INTO tags
    SELECT new.tenant, value, new.created, new.id FROM json_each(new.body, '$.tags') WHERE type = 'text';
END;

CREATE TRIGGER rows_untagged BEFORE UPDATE ON rows
WHEN old.kind = 'key' AND json_extract(old.body, '$.tags') IS NOT json_extract(new.body, '$.tags') BEGIN
    DELETE FROM tags WHERE tenant = old.tenant AND created = old.created AND id = old.id
        AND tag IN (SELECT value FROM json_each(old.body, '$.tags') WHERE type = 'text');
END;

CREATE TRIGGER rows_retagged AFTER UPDATE ON rows
WHEN new.kind = 'key' AND json_extract(old.body, '$.tags') IS NOT json_extract(new.body, '$.tags') BEGIN
    INSERT OR IGNORE INTO tags
    SELECT new.tenant, value, new.created, new.id FROM json_each(new.body, '$.tags') WHERE type = 'text';
END;

CREATE TABLE sealed_head (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    position INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    seal     BLOB NOT NULL
) STRICT;

CREATE TABLE snapshot (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    position INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    body     BLOB NOT NULL,
    seal     BLOB NOT NULL
) STRICT;

-- Verifications per version, result and minute; key_id is empty where no key can be held to them.
CREATE TABLE usage (
    key_id  TEXT NOT NULL,
    minute  INTEGER NOT NULL,
    version INTEGER NOT NULL,
    code    TEXT NOT NULL,
    tenant  TEXT NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (key_id, minute, version, code, tenant)
) STRICT, WITHOUT ROWID;

CREATE TABLE last_use (
    key_id  TEXT NOT NULL,
    version INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    ip      TEXT,
    PRIMARY KEY (key_id, version)
) STRICT, WITHOUT ROWID;

-- A program older than `oldest_program` must not use the store.
INSERT INTO meta VALUES ('schema_version', '1'), ('oldest_program', '1');
