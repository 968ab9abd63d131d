"""Notifiers: by HTTP, by mail, by a function."""
