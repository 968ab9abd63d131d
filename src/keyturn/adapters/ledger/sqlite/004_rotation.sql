-- Rotation: what is due, and in which order. Keys name policies and rotations from here on, and a program that does not know
-- these members refuses such keys, so that it must not use the store.

CREATE INDEX rows_due_by_policy ON rows (
    tenant, json_extract(body, '$.rotation_policy_id'),
    coalesce(json_extract(body, '$.due_from'), json_extract(body, '$.created_at')), id
) WHERE kind = 'key' AND state = 'active' AND json_extract(body, '$.rotation_policy_id') IS NOT NULL;
CREATE INDEX rows_due_by_type ON rows (
    tenant, type, coalesce(json_extract(body, '$.due_from'), json_extract(body, '$.created_at')), id
) WHERE kind = 'key' AND state = 'active' AND json_extract(body, '$.rotation_policy_id') IS NULL;

CREATE INDEX rows_policies ON rows (created, id) WHERE kind = 'policy';
CREATE INDEX rows_policies_of_tenant ON rows (tenant, created, id) WHERE kind = 'policy';
CREATE INDEX rows_rotations ON rows (tenant, created, id) WHERE kind = 'rotation';
CREATE INDEX rows_rotations_of_policy ON rows (tenant, json_extract(body, '$.policy_id'), created, id)
    WHERE kind = 'rotation';
CREATE INDEX rows_rotations_of_key ON rows (tenant, json_extract(body, '$.key'), created, id) WHERE kind = 'rotation';
CREATE INDEX rows_rotations_in_stage ON rows (tenant, json_extract(body, '$.stage'), created, id)
    WHERE kind = 'rotation';
CREATE INDEX rows_steps_due ON rows (json_extract(body, '$.next_at'), id)
    WHERE kind = 'rotation' AND json_extract(body, '$.next_at') IS NOT NULL;

-- Of keys whose public halves everybody may see.
CREATE INDEX rows_published ON rows (tenant, id)
    WHERE kind = 'key' AND json_extract(body, '$.published_for') IS NOT NULL;

UPDATE meta SET value = '4' WHERE key IN ('schema_version', 'oldest_program');
