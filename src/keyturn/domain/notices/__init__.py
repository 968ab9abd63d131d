"""Notices: whom the log is told to, and how far that has come."""
