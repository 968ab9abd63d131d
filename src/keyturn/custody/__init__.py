"""Looking after the keyring: another key-encryption key, another data key, rows sealed anew, old data keys retired."""
