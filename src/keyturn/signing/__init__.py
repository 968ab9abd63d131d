"""Signing with keys that stay here, and verifying what they signed."""
