"""Examining an installation: what is found, whether it is in order, and what to mend. Nothing of it is changed."""
