-- The ledger's tables. Everything that sorts or compares ids does so bytewise (COLLATE "C"), as every other store does.
-- May be run by hand: one file after the other, in order, each in a transaction, as the role that shall own the schema.

CREATE SCHEMA keyturn;
REVOKE ALL ON SCHEMA keyturn FROM PUBLIC;

-- One line for each file applied. A program older than `oldest_program` must not use the schema.
CREATE TABLE keyturn.schema_versions (
    version        integer PRIMARY KEY,
    oldest_program integer NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT now()
);

-- What names this log for good: set once, by `keyturn init`.
CREATE TABLE keyturn.log (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    log_id   text COLLATE "C" NOT NULL CHECK (log_id ~ '^[0-9A-Za-z]{16}$')
);

-- Positions are dense and in commit order; keyturn.commit gives them out under a lock.
CREATE TABLE keyturn.entries (
    position bigint PRIMARY KEY CHECK (position >= 1),
    entry    bytea NOT NULL CHECK (octet_length(entry) <= 65535),
    seal     bytea NOT NULL,
    hash     bytea NOT NULL CHECK (octet_length(hash) = 32),
    details  text COLLATE "C"
);

-- A row's body as JSON to pick from. JSON may hold a NUL (\u0000), which PostgreSQL's text cannot: U+FFFD takes its place
-- here, and only here. An escaped backslash before u0000 is no NUL; it steps aside as a character that JSON always escapes.
CREATE FUNCTION keyturn.document(body text) RETURNS json
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN strpos(body, '\u0000') = 0 THEN body
            ELSE replace(replace(replace(body, '\\', chr(1)), '\u0000', '\ufffd'), chr(1), '\\') END::json;
REVOKE ALL ON FUNCTION keyturn.document(text) FROM PUBLIC;

-- The columns after `position` are generated from the body, so that no writer can make them differ from it.
CREATE TABLE keyturn.rows (
    id            text COLLATE "C" PRIMARY KEY,
    kind          text COLLATE "C" NOT NULL,
    tenant        text COLLATE "C" NOT NULL,
    revision      bigint NOT NULL CHECK (revision >= 1),
    body          text COLLATE "C" NOT NULL,
    seal          bytea NOT NULL,
    material      bytea,
    created       bigint NOT NULL,
    position      bigint NOT NULL,
    credential_id text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'version' THEN keyturn.document(body) ->> 'credential_id' END) STORED,
    key_id        text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'version' THEN keyturn.document(body) ->> 'key' END) STORED,
    owner         text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN keyturn.document(body) -> 'owner' ->> 'id' END) STORED,
    owner_row     text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN keyturn.document(body) -> 'owner' ->> 'row' END) STORED,
    type          text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN keyturn.document(body) ->> 'type' END) STORED,
    scope         text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN keyturn.document(body) ->> 'scope' END) STORED,
    state         text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN keyturn.document(body) ->> 'state' END) STORED,
    prefix        text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN keyturn.document(body) ->> 'prefix' END) STORED,
    name          text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN keyturn.document(body) ->> 'name' END) STORED,
    expires_at    bigint GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN (keyturn.document(body) ->> 'expires_at')::bigint END) STORED,
    tags          jsonb GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN (keyturn.document(body) -> 'tags')::jsonb END) STORED
);

CREATE UNIQUE INDEX rows_credential ON keyturn.rows (credential_id) WHERE credential_id IS NOT NULL;
CREATE INDEX rows_versions ON keyturn.rows (key_id, created) WHERE kind = 'version';
CREATE INDEX rows_newest ON keyturn.rows (tenant, created DESC, id DESC) WHERE kind = 'key';
CREATE INDEX rows_owned ON keyturn.rows (tenant, owner, id) WHERE kind = 'key';
CREATE INDEX rows_expiring ON keyturn.rows (expires_at) WHERE kind = 'key' AND state = 'active';
CREATE INDEX rows_tags ON keyturn.rows USING gin (tags) WHERE kind = 'key';

CREATE TABLE keyturn.sealed_heads (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    position bigint NOT NULL,
    hash     bytea NOT NULL,
    seal     bytea NOT NULL
);

CREATE TABLE keyturn.snapshots (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    position bigint NOT NULL,
    hash     bytea NOT NULL,
    body     bytea NOT NULL,
    seal     bytea NOT NULL
);

-- Verifications per version, result and minute; key_id is empty where no key can be held to them.
CREATE TABLE keyturn.uses (
    key_id  text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    code    text COLLATE "C" NOT NULL,
    minute  bigint NOT NULL,
    tenant  text COLLATE "C" NOT NULL,
    count   bigint NOT NULL,
    PRIMARY KEY (key_id, minute, version, code, tenant)
);

CREATE TABLE keyturn.last_uses (
    key_id  text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    at      bigint NOT NULL,
    ip      text COLLATE "C",
    PRIMARY KEY (key_id, version)
);

INSERT INTO keyturn.schema_versions (version, oldest_program) VALUES (1, 1);
