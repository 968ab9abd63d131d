"""Reading what happened: the log for people, and counts of uses."""
