-- From here on the keyring may change while programs run, and each must follow it. One that does not would seal rows under
-- a data key that others no longer accept, so that it must not use the store.

-- [{"id", "revision", "old_seal", "old_material", "seal", "material"}] --> how many rows were as they are said to be.
-- The lock of keyturn.commit keeps the two from waiting for each other's rows in a circle.
CREATE FUNCTION keyturn.reseal(reseals jsonb) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
    done bigint;
BEGIN
    IF jsonb_array_length(reseals) > 1000 THEN
        RAISE EXCEPTION 'at most 1000 rows at a time' USING ERRCODE = '22023';
    END IF;
    IF current_setting('lock_timeout') = '0' THEN
        PERFORM set_config('lock_timeout', '8s', true);
    END IF;
    PERFORM pg_advisory_xact_lock(30229394827342446);  -- "keyturn" in ASCII

    UPDATE keyturn.rows AS r
    SET seal = decode(x ->> 'seal', 'base64'), material = decode(x ->> 'material', 'base64')
    FROM jsonb_array_elements(reseals) AS x
    WHERE r.id = x ->> 'id' AND r.revision = (x ->> 'revision')::bigint
      AND r.seal = decode(x ->> 'old_seal', 'base64')
      AND r.material IS NOT DISTINCT FROM decode(x ->> 'old_material', 'base64');
    GET DIAGNOSTICS done = ROW_COUNT;
    RETURN done;
END
$$;

REVOKE ALL ON FUNCTION keyturn.reseal(jsonb) FROM PUBLIC;

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
                   'keyturn.reseal(jsonb) TO %I', program);
END
$$;

-- Roles that programs have used so far go on as they are.
DO $$
DECLARE
    program oid;
BEGIN
    FOR program IN
        SELECT DISTINCT a.grantee FROM pg_proc AS p, aclexplode(p.proacl) AS a
        WHERE p.oid = 'keyturn.commit(jsonb)'::regprocedure AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION keyturn.reseal(jsonb) TO %s', program::regrole);
    END LOOP;
END
$$;

INSERT INTO keyturn.schema_versions (version, oldest_program) VALUES (4, 4);
