-- Answers that are kept for those who send a request again, and forgotten when their time is over.

CREATE INDEX rows_kept_until ON keyturn.rows (((keyturn.document(body) ->> 'expires_at')::bigint)) WHERE kind = 'answer';

-- Deletes the answers that had expired by then, at most so many, and says how many there were. Only at revision 1: a row that
-- was ever changed is one that readers of the log expect to find.
CREATE FUNCTION keyturn.forget_answers(before bigint, most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    forgotten integer;
BEGIN
    DELETE FROM keyturn.rows WHERE id IN (
        SELECT id FROM keyturn.rows
        WHERE kind = 'answer' AND (keyturn.document(body) ->> 'expires_at')::bigint <= before AND revision = 1
        ORDER BY id LIMIT most FOR UPDATE);
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
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
                   'keyturn.reseal(jsonb), keyturn.forget_answers(bigint, integer) TO %I', program);
END
$$;

REVOKE ALL ON FUNCTION keyturn.forget_answers(bigint, integer) FROM PUBLIC;

-- Roles that programs have used so far go on as they are.
DO $$
DECLARE
    program oid;
BEGIN
    FOR program IN
        SELECT DISTINCT a.grantee FROM pg_proc AS p, aclexplode(p.proacl) AS a
        WHERE p.oid = 'keyturn.commit(jsonb)'::regprocedure AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION keyturn.forget_answers(bigint, integer) TO %s', program::regrole);
    END LOOP;
END
$$;

INSERT INTO keyturn.schema_versions (version, oldest_program) VALUES (5, 4);
