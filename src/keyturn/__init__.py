"""Issue, verify, rotate and audit API keys and signing keys."""
