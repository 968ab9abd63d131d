"""Rotation as values and rules: policies, when they are due, and the steps that a rotation takes.

policy         what shall be rotated, when and how; `kept_policy` is one as it is kept
selection      which keys a policy is for
blackout       when no rotation begins
cron           times by a cron expression, on a clock on the wall
zones          what instant a clock on the wall shows
schedule       when a key is due under a policy
stages         where a rotation may stand, what it waits for, and which stage follows which
plan           what a rotation takes from its policy, and what was left of its times when it was paused
rotation       one rotation
steps          what each step does to the versions and to the key
preview        what a rotation would do
reasons        why rotations ended, and why rotations and policies stand still
pick_up        a code for a new secret, and its row
bodies         rotations as rows; `policy_bodies` policies
checks         what members of a policy are held to
"""
