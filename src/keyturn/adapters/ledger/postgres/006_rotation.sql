-- Rotation: what is due, and in which order. Keys name policies and rotations from here on, and a program that does not know
-- these members refuses such keys, so that it must not use the store.

-- What lists go by is in expression indexes, not in columns: those would write the whole table anew while nobody may read it.
-- A query finds an index by repeating its expression.

CREATE INDEX rows_due_by_policy ON keyturn.rows (
    tenant, ((keyturn.document(body) ->> 'rotation_policy_id') COLLATE "C"),
    (coalesce(keyturn.document(body) ->> 'due_from', keyturn.document(body) ->> 'created_at')::bigint), id
) WHERE kind = 'key' AND state = 'active' AND keyturn.document(body) ->> 'rotation_policy_id' IS NOT NULL;
CREATE INDEX rows_due_by_type ON keyturn.rows (
    tenant, type, (coalesce(keyturn.document(body) ->> 'due_from', keyturn.document(body) ->> 'created_at')::bigint), id
) WHERE kind = 'key' AND state = 'active' AND keyturn.document(body) ->> 'rotation_policy_id' IS NULL;

CREATE INDEX rows_policies ON keyturn.rows (created DESC, id DESC) WHERE kind = 'policy';
CREATE INDEX rows_policies_of_tenant ON keyturn.rows (tenant, created DESC, id DESC) WHERE kind = 'policy';
CREATE INDEX rows_rotations ON keyturn.rows (tenant, created DESC, id DESC) WHERE kind = 'rotation';
CREATE INDEX rows_rotations_of_policy ON keyturn.rows (
    tenant, ((keyturn.document(body) ->> 'policy_id') COLLATE "C"), created DESC, id DESC
) WHERE kind = 'rotation';
CREATE INDEX rows_rotations_of_key ON keyturn.rows (
    tenant, ((keyturn.document(body) ->> 'key') COLLATE "C"), created DESC, id DESC
) WHERE kind = 'rotation';
CREATE INDEX rows_rotations_in_stage ON keyturn.rows (
    tenant, ((keyturn.document(body) ->> 'stage') COLLATE "C"), created DESC, id DESC
) WHERE kind = 'rotation';
CREATE INDEX rows_steps_due ON keyturn.rows (((keyturn.document(body) ->> 'next_at')::bigint), id)
    WHERE kind = 'rotation' AND keyturn.document(body) ->> 'next_at' IS NOT NULL;

-- Of keys whose public halves everybody may see.
CREATE INDEX rows_published ON keyturn.rows (tenant, id)
    WHERE kind = 'key' AND keyturn.document(body) ->> 'published_for' IS NOT NULL;

-- What a program may execute from here on: whatever runs with its owner's rights, for that is what is written for programs to
-- call; and keyturn.document, which their queries repeat. So a later file need not say it again: it ends with
-- `SELECT keyturn.grant_anew()`.
CREATE OR REPLACE FUNCTION keyturn.grant_to(program name) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    callable regprocedure;
BEGIN
    -- What an earlier version or a careless hand gave is taken back first.
    EXECUTE format('REVOKE ALL ON SCHEMA keyturn FROM %I', program);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA keyturn FROM %I', program);
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA keyturn FROM %I', program);
    EXECUTE format('GRANT USAGE ON SCHEMA keyturn TO %I', program);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA keyturn TO %I', program);
    FOR callable IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'keyturn'::regnamespace AND (prosecdef OR proname = 'document')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', callable, program);
    END LOOP;
END
$$;

-- For the roles that programs have used so far: what there is now, to them and to nobody else.
CREATE FUNCTION keyturn.grant_anew() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    REVOKE ALL ON ALL TABLES IN SCHEMA keyturn FROM PUBLIC;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA keyturn FROM PUBLIC;
    PERFORM keyturn.grant_to(pg_get_userbyid(grantee)) FROM (
        SELECT DISTINCT a.grantee FROM pg_proc AS p, aclexplode(p.proacl) AS a
        WHERE p.oid = 'keyturn.commit(jsonb)'::regprocedure AND a.grantee NOT IN (0, p.proowner)
    ) AS programs;
END
$$;

SELECT keyturn.grant_anew();

INSERT INTO keyturn.schema_versions (version, oldest_program) VALUES (6, 6);
