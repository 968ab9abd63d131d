-- What the program may do: read, and write through functions. Run by `keyturn init`, or by hand as the schema's owner:
--
--     SELECT keyturn.grant_to('keyturn_app');

CREATE FUNCTION keyturn.grant_to(program name) RETURNS void
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
                   'keyturn.save_snapshot(bigint, bytea, bytea, bytea), keyturn.record_uses(jsonb) TO %I', program);
END
$$;

REVOKE ALL ON FUNCTION keyturn.grant_to(name) FROM PUBLIC;

INSERT INTO keyturn.schema_versions (version, oldest_program) VALUES (3, 1);
