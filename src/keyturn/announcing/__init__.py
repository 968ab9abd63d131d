"""Announcing what no change says by itself: what is about to happen to keys, and what does not happen with them."""
