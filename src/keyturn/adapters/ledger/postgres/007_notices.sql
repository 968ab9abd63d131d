-- Notices: endpoints, and how far deliveries to each have come. A program that does not know endpoints would leave their
-- secrets under a data key that is about to be retired, so that it must not use the store.

CREATE INDEX rows_endpoints ON keyturn.rows (created DESC, id DESC) WHERE kind = 'endpoint';

CREATE TABLE keyturn.deliveries (
    endpoint_id text COLLATE "C" PRIMARY KEY,
    turn        bigint NOT NULL CHECK (turn >= 1),
    body        bytea NOT NULL CHECK (octet_length(body) <= 1048576)
);

-- Keeps a state in place of the one of the turn before, or as the first one; false where the stored turn is another.
CREATE FUNCTION keyturn.keep_state(endpoint text, wanted bigint, content bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept integer;
BEGIN
    IF wanted = 1 THEN
        INSERT INTO keyturn.deliveries (endpoint_id, turn, body) VALUES (endpoint, wanted, content)
        ON CONFLICT DO NOTHING;
    ELSE
        UPDATE keyturn.deliveries SET turn = wanted, body = content
        WHERE endpoint_id = endpoint AND turn = wanted - 1;
    END IF;
    GET DIAGNOSTICS kept = ROW_COUNT;
    RETURN kept = 1;
END
$$;

CREATE OR REPLACE FUNCTION keyturn.grant_to(program name) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- What an earlier version or a careless hand gave is taken back first.
    EXECUTE format('REVOKE ALL ON SCHEMA keyturn FROM %I', program);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA keyturn FROM %I', program);
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA keyturn FROM %I', program);
    EXECUTE format('GRANT USAGE ON SCHEMA keyturn TO %I', program);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA keyturn TO %I', program);
    EXECUTE format('GRANT EXECUTE ON FUNCTION keyturn.commit(jsonb), keyturn.seal_head(jsonb), '
                   'keyturn.save_snapshot(bigint, bytea, bytea, bytea), keyturn.record_uses(jsonb), '
                   'keyturn.reseal(jsonb), keyturn.forget_answers(bigint, integer), '
                   'keyturn.keep_state(text, bigint, bytea) TO %I', program);
END
$$;

REVOKE ALL ON FUNCTION keyturn.keep_state(text, bigint, bytea) FROM PUBLIC;

-- Roles that programs have used so far go on as they are.
DO $$
DECLARE
    program oid;
BEGIN
    FOR program IN
        SELECT DISTINCT a.grantee FROM pg_proc AS p, aclexplode(p.proacl) AS a
        WHERE p.oid = 'keyturn.commit(jsonb)'::regprocedure AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT SELECT ON keyturn.deliveries TO %s', program::regrole);
        EXECUTE format('GRANT EXECUTE ON FUNCTION keyturn.keep_state(text, bigint, bytea) TO %s', program::regrole);
    END LOOP;
END
$$;

INSERT INTO keyturn.schema_versions (version, oldest_program) VALUES (7, 7);
