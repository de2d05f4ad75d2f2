"""Moderation of agents: what they are given and answer is judged before it goes on, and each judgement is on record.

A judgement is written in the transaction of what it is about, so that both are there or neither. What was refused, or
could not be judged, is not stored and not handed on.
"""
