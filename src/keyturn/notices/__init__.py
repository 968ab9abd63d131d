"""Telling others what the log says: endpoints, and the deliveries to each."""
