"""The proof that one workspace never reaches another's rows, and that the proof would notice.

It has three parts, each derived from the database's own catalog, so that a new table or verb is in it by being there.

1. **Cells.** Every table × probe × actor, and every verb × actor: what the table's policy class and the role matrix say
   should happen is compared with what happens when the real login role does it in a database with two workspaces that
   have rows in every table. A `leak` is more than expected, `too tight` is less: a proof in which everything fails
   must not pass. What has no outcome is `uncovered`.
2. **Rules.** What can be read off the catalog and the verbs' sources without trying: grants, policies, keys, owners.
3. **Mutants.** Hundreds of faults, generated one by one for each policy, grant, key and verb, are put into the database
   inside a transaction. The cells of what was touched must notice, else a rule must; one that neither notices is a
   survivor, and the proof fails.
"""
