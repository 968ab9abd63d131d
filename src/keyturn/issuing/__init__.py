"""Issuing keys and everything that may happen to them: services that read checked rows and commit ChangeSets."""
