-- Notices: endpoints, and how far deliveries to each have come. A program that does not know endpoints would leave their
-- secrets under a data key that is about to be retired, so that it must not use the store.

CREATE INDEX rows_endpoints ON keyturn.rows (created DESC, id DESC) WHERE kind = 'endpoint';
CREATE INDEX rows_endpoints_of_tenant ON keyturn.rows (tenant, created DESC, id DESC) WHERE kind = 'endpoint';

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

SELECT keyturn.grant_anew();

INSERT INTO keyturn.schema_versions (version, oldest_program) VALUES (7, 7);
