"""Rotation as values and rules: policies, when they are due, and the steps that a rotation takes.

policy     what shall be rotated, when and how
cron       times by a cron expression, on a clock on the wall
zones      what instant a clock on the wall shows
schedule   when a key is due under a policy
rotation   one rotation: its stages, and what may happen in each
bodies     both as rows
"""
