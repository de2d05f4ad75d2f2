"""Job engines side by side: backlog, effects, publishing, idle latency, claim and complete.

A contender (``contender.py``) is one engine at its best documented settings. Every measurement runs in a
process of its own (``child.py``) on a freshly made database; the parent (``runner.py``) lets the contenders
alternate, verifies each database by SQL afterwards, and hands the numbers to ``report.py``.
"""
