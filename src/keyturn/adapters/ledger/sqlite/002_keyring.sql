-- From here on the keyring may change while programs run, and each must follow it. One that does not would seal rows under
-- a data key that others no longer accept, so that it must not use the store.

UPDATE meta SET value = '2' WHERE key IN ('schema_version', 'oldest_program');
