"""What may be done with notes, and by whom."""

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role

READ_NOTES = MATRIX.allow(Role.VIEWER, "note.read", needs=["notes.notes:select"])
CREATE_NOTES = MATRIX.allow(Role.MEMBER, "note.create", needs=["notes.notes:insert"])
MOVE_NOTES = MATRIX.allow(Role.MEMBER, "note.move", needs=["notes.notes:update"])
