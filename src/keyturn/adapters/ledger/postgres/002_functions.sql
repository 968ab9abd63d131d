-- The only ways to write. They run with the rights of the schema's owner; whoever may execute them needs no right on a table.
--
--     SELECT keyturn.commit('[{"requires": [["own_x", 0]],
--                              "entries": [{"entry": "<base64>", "seal": "<base64>", "details": null,
--                                           "rows": [{"id": "key_x", "kind": "key", "tenant": "default", "revision": 1,
--                                                     "body": "{...}", "seal": "<base64>", "material": null}]}]}]');
--     -->  [{"position": 17}]   or   [{"conflict": "own_x"}]

CREATE FUNCTION keyturn.genesis() RETURNS bytea
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT sha256(convert_to('keyturn-log-v1' || log_id, 'UTF8')) FROM keyturn.log
$$;

-- Functions that matter for speed are PL/pgSQL throughout, as it keeps its plans: planning would cost more than the work.

-- Raises unless each ChangeSet is of a size that the log allows.
CREATE FUNCTION keyturn.check_sizes(changes jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    change jsonb;
    puts   bigint;
BEGIN
    FOR change IN SELECT jsonb_array_elements(changes) LOOP
        SELECT sum(jsonb_array_length(e -> 'rows')) INTO puts FROM jsonb_array_elements(change -> 'entries') AS e;
        IF puts > 4096 OR jsonb_array_length(change -> 'entries') NOT BETWEEN 1 AND 1000 THEN
            RAISE EXCEPTION 'a change has 1 to 1000 entries and at most 4096 rows' USING ERRCODE = '22023';
        END IF;
    END LOOP;
END
$$;

-- Whether no ChangeSet of the list puts a row, or a credential, that another one mentions: then all can be judged at once.
CREATE FUNCTION keyturn.are_independent(changes jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN jsonb_array_length(changes) < 2 OR NOT EXISTS (
        WITH change AS MATERIALIZED (
            SELECT n, c FROM jsonb_array_elements(changes) WITH ORDINALITY AS list (c, n)
        ), put AS MATERIALIZED (
            SELECT n, p ->> 'id' AS id, p ->> 'kind' AS kind, p ->> 'body' AS body
            FROM change, jsonb_array_elements(c -> 'entries') AS e, jsonb_array_elements(e -> 'rows') AS p
        ), mention AS (
            SELECT n, id, true AS is_put FROM put
            UNION ALL
            SELECT n, 'credential ' || (keyturn.document(body) ->> 'credential_id'), true
            FROM put WHERE kind = 'version'
            UNION ALL
            SELECT n, r ->> 0, false FROM change, jsonb_array_elements(c -> 'requires') AS r
        )
        SELECT FROM mention WHERE id IS NOT NULL GROUP BY id HAVING min(n) < max(n) AND bool_or(is_put));
END
$$;

-- The ChangeSets that cannot be, as {"<number from 1>": "<row that has moved>"}; NULL when all can.
-- The scalar subqueries are deliberate: joined, a plan made for an unknown number of rows would scan the whole table.
CREATE FUNCTION keyturn.conflicts(changes jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (
        WITH change AS MATERIALIZED (
            SELECT n, c FROM jsonb_array_elements(changes) WITH ORDINALITY AS list (c, n)
        ), put AS MATERIALIZED (
            SELECT n, p ->> 'id' AS id, (p ->> 'revision')::bigint AS revision,
                   CASE WHEN p ->> 'kind' = 'version'
                        THEN keyturn.document(p ->> 'body') ->> 'credential_id' END AS credential
            FROM change, jsonb_array_elements(c -> 'entries') AS e, jsonb_array_elements(e -> 'rows') AS p
        ), expected AS (
            SELECT n, id, revision - 1 AS revision FROM put
            UNION ALL
            SELECT n, r ->> 0, (r ->> 1)::bigint FROM change, jsonb_array_elements(c -> 'requires') AS r
        ), broken AS (
            SELECT n, id FROM expected
            WHERE revision <> coalesce((SELECT r.revision FROM keyturn.rows AS r WHERE r.id = expected.id), 0)
            UNION ALL
            SELECT n, id FROM put
            WHERE (SELECT r.id FROM keyturn.rows AS r WHERE r.credential_id = put.credential) <> id
            UNION ALL
            SELECT n, max(id) FROM put WHERE credential IS NOT NULL GROUP BY n, credential HAVING count(*) > 1
        )
        SELECT jsonb_object_agg(n, id) FROM broken);
END
$$;

-- Applies ChangeSets that are independent of each other and whose checks have passed; returns the last position.
CREATE FUNCTION keyturn.append(changes jsonb) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    items  jsonb[];
    hashes bytea[] := '{}';
    item   jsonb;
    base   bigint;
    hash   bytea;
BEGIN
    SELECT e.position, e.hash INTO base, hash FROM keyturn.entries AS e ORDER BY e.position DESC LIMIT 1;
    IF NOT FOUND THEN
        base := 0;
        hash := keyturn.genesis();
    END IF;

    SELECT array_agg(e ORDER BY n, m) INTO items
    FROM jsonb_array_elements(changes) WITH ORDINALITY AS list (c, n),
         jsonb_array_elements(c -> 'entries') WITH ORDINALITY AS entry (e, m);
    FOREACH item IN ARRAY items LOOP
        hash := sha256(hash || decode(item ->> 'entry', 'base64'));
        hashes := array_append(hashes, hash);
    END LOOP;

    INSERT INTO keyturn.entries (position, entry, seal, hash, details)
    SELECT base + n, decode(e ->> 'entry', 'base64'), decode(e ->> 'seal', 'base64'), h, e ->> 'details'
    FROM unnest(items, hashes) WITH ORDINALITY AS list (e, h, n);

    INSERT INTO keyturn.rows AS r (id, kind, tenant, revision, body, seal, material, created, position)
    SELECT p ->> 'id', p ->> 'kind', p ->> 'tenant', (p ->> 'revision')::bigint, p ->> 'body',
           decode(p ->> 'seal', 'base64'), decode(p ->> 'material', 'base64'), base + n, base + n
    FROM unnest(items) WITH ORDINALITY AS list (e, n), jsonb_array_elements(e -> 'rows') AS p
    ON CONFLICT (id) DO UPDATE
    SET kind = excluded.kind, tenant = excluded.tenant, revision = excluded.revision, body = excluded.body,
        seal = excluded.seal, material = excluded.material, position = excluded.position;

    RETURN base + cardinality(items);
END
$$;

-- Judges and applies independent ChangeSets together; one answer for each, in order.
CREATE FUNCTION keyturn.apply(changes jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    refused jsonb;
    passed  jsonb;
    head    bigint;
    answers jsonb;
BEGIN
    refused := keyturn.conflicts(changes);
    passed := changes;
    IF refused IS NOT NULL THEN
        SELECT jsonb_agg(c ORDER BY n) INTO passed
        FROM jsonb_array_elements(changes) WITH ORDINALITY AS list (c, n) WHERE NOT refused ? n::text;
    END IF;
    IF passed IS NOT NULL THEN
        head := keyturn.append(passed);
    END IF;

    -- Positions are counted back from the head: a ChangeSet's last entry has all entries of the later ones after it.
    SELECT jsonb_agg(
        CASE WHEN refused ? n::text THEN jsonb_build_object('conflict', refused ->> n::text)
             ELSE jsonb_build_object('position', head - later) END ORDER BY n)
    INTO answers
    FROM (
        SELECT n, coalesce(sum(CASE WHEN refused ? n::text THEN 0 ELSE jsonb_array_length(c -> 'entries') END)
                           OVER (ORDER BY n DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS later
        FROM jsonb_array_elements(changes) WITH ORDINALITY AS list (c, n)
    ) AS counted;
    RETURN answers;
END
$$;

-- What a process vouches for is kept only where the log holds it: a failover may have lost what that process has read.
CREATE FUNCTION keyturn.seal_head(sealed jsonb) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO keyturn.sealed_heads AS h (position, hash, seal)
    SELECT e.position, e.hash, decode(sealed ->> 'seal', 'base64') FROM keyturn.entries AS e
    WHERE e.position = (sealed ->> 'position')::bigint AND e.hash = decode(sealed ->> 'hash', 'base64')
    ON CONFLICT (only_one) DO UPDATE
    SET position = excluded.position, hash = excluded.hash, seal = excluded.seal
    WHERE excluded.position > h.position
$$;

-- No JSON here: a snapshot may be tens of megabytes.
CREATE FUNCTION keyturn.save_snapshot("position" bigint, hash bytea, body bytea, seal bytea) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO keyturn.snapshots AS s (position, hash, body, seal)
    SELECT e.position, e.hash, $3, $4 FROM keyturn.entries AS e WHERE e.position = $1 AND e.hash = $2
    ON CONFLICT (only_one) DO UPDATE
    SET position = excluded.position, hash = excluded.hash, body = excluded.body, seal = excluded.seal
    WHERE excluded.position >= s.position
$$;

-- [{"tenant", "key_id", "version", "code", "minute", "count", "last_at", "last_ip"}]. Sorted, so that two callers never wait
-- for each other in a circle. A count ends at 2^40, whatever stood there: one that was bent must not stop the others.
CREATE FUNCTION keyturn.record_uses(uses jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO keyturn.uses AS u (key_id, version, code, minute, tenant, count)
    SELECT key_id, version, code, minute, tenant, least(sum(count), 1099511627776)
    FROM jsonb_to_recordset(uses) AS x (key_id text COLLATE "C", version integer, code text COLLATE "C",
                                        minute bigint, tenant text COLLATE "C", count bigint)
    GROUP BY key_id, version, code, minute, tenant
    ORDER BY key_id, minute, version, code, tenant
    ON CONFLICT (key_id, minute, version, code, tenant) DO UPDATE
    SET count = least(least(greatest(u.count, 0), 1099511627776) + excluded.count, 1099511627776);

    INSERT INTO keyturn.last_uses AS l (key_id, version, at, ip)
    SELECT DISTINCT ON (key_id, version) key_id, version, last_at, last_ip
    FROM jsonb_to_recordset(uses) AS x (key_id text COLLATE "C", version integer, code text COLLATE "C",
                                        last_at bigint, last_ip text COLLATE "C")
    WHERE code = 'valid' AND key_id <> ''
    ORDER BY key_id, version, last_at DESC
    ON CONFLICT (key_id, version) DO UPDATE SET at = excluded.at, ip = excluded.ip WHERE excluded.at > l.at;
END
$$;

CREATE FUNCTION keyturn.commit(changes jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
    answers jsonb := '[]';
    change  jsonb;
    sealed  jsonb;
BEGIN
    PERFORM keyturn.check_sizes(changes);
    IF current_setting('lock_timeout') = '0' THEN
        PERFORM set_config('lock_timeout', '8s', true);
    END IF;
    -- First of all: what is read below must be what the last holder of the lock left, in this transaction's own snapshot.
    PERFORM pg_advisory_xact_lock(30229394827342446);  -- "keyturn" in ASCII
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'keyturn.commit needs the isolation level read committed' USING ERRCODE = '25001';
    END IF;
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);  -- an acknowledged commit is durable
    END IF;

    IF keyturn.are_independent(changes) THEN
        answers := keyturn.apply(changes);
    ELSE
        FOR change IN SELECT c FROM jsonb_array_elements(changes) WITH ORDINALITY AS list (c, n) ORDER BY n LOOP
            answers := answers || keyturn.apply(jsonb_build_array(change));
        END LOOP;
    END IF;

    SELECT c -> 'sealed_head' INTO sealed  -- the furthest
    FROM jsonb_array_elements(changes) WITH ORDINALITY AS list (c, n)
    WHERE c -> 'sealed_head' ->> 'position' IS NOT NULL AND answers -> (n - 1)::integer ? 'position'
    ORDER BY (c -> 'sealed_head' ->> 'position')::bigint DESC LIMIT 1;
    IF FOUND THEN
        PERFORM keyturn.seal_head(sealed);
    END IF;

    -- A full queue would fail the transaction, and this is only a hint.
    IF jsonb_path_exists(answers, '$[*].position') AND pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('keyturn', '');
    END IF;
    RETURN answers;
END
$$;

-- New functions are everybody's to execute until this is said.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA keyturn FROM PUBLIC;

INSERT INTO keyturn.schema_versions (version, oldest_program) VALUES (2, 1);
