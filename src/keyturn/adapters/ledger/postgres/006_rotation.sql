-- Rotation: what is due, and in which order. Keys name policies and rotations from here on, and a program that does not know
-- these members refuses such keys, so that it must not use the store.

ALTER TABLE keyturn.rows
    -- Of a key, the policy that it follows; of a rotation, the one that it came from.
    ADD COLUMN policy_id text COLLATE "C" GENERATED ALWAYS AS
        (CASE kind WHEN 'key' THEN keyturn.document(body) ->> 'rotation_policy_id'
                   WHEN 'rotation' THEN keyturn.document(body) ->> 'policy_id' END) STORED,
    ADD COLUMN counted_from bigint GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN
            coalesce(keyturn.document(body) ->> 'due_from', keyturn.document(body) ->> 'created_at')::bigint END) STORED,
    ADD COLUMN rotated_key text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'rotation' THEN keyturn.document(body) ->> 'key' END) STORED,
    ADD COLUMN strategy text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'rotation' THEN keyturn.document(body) ->> 'strategy' END) STORED,
    ADD COLUMN stage text COLLATE "C" GENERATED ALWAYS AS
        (CASE WHEN kind = 'rotation' THEN keyturn.document(body) ->> 'stage' END) STORED,
    ADD COLUMN next_at bigint GENERATED ALWAYS AS
        (CASE WHEN kind = 'rotation' THEN (keyturn.document(body) ->> 'next_at')::bigint END) STORED,
    ADD COLUMN published_for bigint GENERATED ALWAYS AS
        (CASE WHEN kind = 'key' THEN (keyturn.document(body) ->> 'published_for')::bigint END) STORED;

CREATE INDEX rows_due_by_policy ON keyturn.rows (tenant, policy_id, counted_from, id)
    WHERE kind = 'key' AND state = 'active' AND policy_id IS NOT NULL;
CREATE INDEX rows_due_by_type ON keyturn.rows (tenant, type, counted_from, id)
    WHERE kind = 'key' AND state = 'active' AND policy_id IS NULL;

CREATE INDEX rows_policies ON keyturn.rows (created DESC, id DESC) WHERE kind = 'policy';
CREATE INDEX rows_rotations ON keyturn.rows (tenant, created DESC, id DESC) WHERE kind = 'rotation';
CREATE INDEX rows_rotations_of_policy ON keyturn.rows (tenant, policy_id, created DESC, id DESC) WHERE kind = 'rotation';
CREATE INDEX rows_rotations_of_key ON keyturn.rows (rotated_key, created DESC, id DESC) WHERE kind = 'rotation';
CREATE INDEX rows_steps_due ON keyturn.rows (next_at, id) WHERE kind = 'rotation' AND next_at IS NOT NULL;

-- Of keys whose public halves everybody may see.
CREATE INDEX rows_published ON keyturn.rows (tenant, id) WHERE kind = 'key' AND published_for IS NOT NULL;

INSERT INTO keyturn.schema_versions (version, oldest_program) VALUES (6, 6);
