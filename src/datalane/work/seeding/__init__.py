"""Seeding: a workspace with a million items beside a thousand small ones, the same whenever it is made.

`plan` says what there will be, `ground` makes accounts, workspaces, projects and fields through identity, `fill` writes
the items in slices through the tenant door. A slice is one transaction: what an interrupt leaves is whole slices, and
the same command goes on with those that are missing.
"""
