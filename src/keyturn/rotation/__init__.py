"""Rotating keys without downtime: policies, rotations step by step, and what is due."""
