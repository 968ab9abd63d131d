-- Notices: endpoints, and how far deliveries to each have come. A program that does not know endpoints would leave their
-- secrets under a data key that is about to be retired, so that it must not use the store.

CREATE INDEX rows_endpoints ON rows (created, id) WHERE kind = 'endpoint';
CREATE INDEX rows_endpoints_of_tenant ON rows (tenant, created, id) WHERE kind = 'endpoint';

CREATE TABLE deliveries (
    endpoint_id TEXT PRIMARY KEY,
    turn        INTEGER NOT NULL CHECK (turn >= 1),
    body        BLOB NOT NULL CHECK (length(body) <= 1048576)
) STRICT, WITHOUT ROWID;

UPDATE meta SET value = '5' WHERE key IN ('schema_version', 'oldest_program');
