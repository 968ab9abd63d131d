-- Answers that are kept for those who send a request again, and forgotten when their time is over.

CREATE INDEX rows_kept_until ON rows (json_extract(body, '$.expires_at')) WHERE kind = 'answer';

UPDATE meta SET value = '3' WHERE key = 'schema_version';
