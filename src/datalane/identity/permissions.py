"""What may be done to a workspace, its members, its invites and its keys, and by whom.

Accepting an invite is no line: whoever accepts has no role here yet, and shows a session and the invite's token.
"""

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role

FOUND_WORKSPACE = MATRIX.allow(Role.VIEWER, "workspace.create", needs=["datalane.create_workspace"])
READ_WORKSPACE = MATRIX.allow(Role.VIEWER, "workspace.read", needs=["datalane.workspaces:select"])
SET_SEARCH_LANGUAGE = MATRIX.allow(Role.ADMIN, "workspace.set_search_language", needs=["datalane.set_search_language"])
RENAME_WORKSPACE = MATRIX.allow(Role.ADMIN, "workspace.rename", needs=["datalane.rename_workspace"])
TRANSFER_OWNERSHIP = MATRIX.allow(Role.OWNER, "workspace.transfer", needs=["datalane.transfer_ownership"])
READ_MEMBERS = MATRIX.allow(
    Role.VIEWER, "membership.read", needs=["datalane.memberships:select", "datalane.list_members"]
)
CHANGE_MEMBER = MATRIX.allow(Role.ADMIN, "membership.change", needs=["datalane.change_member"])
LEAVE = MATRIX.allow(Role.VIEWER, "membership.leave", needs=["datalane.leave_workspace"])
REMOVE_MEMBER = MATRIX.allow(Role.ADMIN, "membership.remove", needs=["datalane.remove_member"])
INVITE = MATRIX.allow(Role.ADMIN, "invite.create", needs=["datalane.create_invite"])
READ_INVITES = MATRIX.allow(Role.ADMIN, "invite.read", needs=["datalane.list_invites"])
REVOKE_INVITE = MATRIX.allow(Role.ADMIN, "invite.revoke", needs=["datalane.revoke_invite"])
CREATE_KEY = MATRIX.allow(Role.ADMIN, "api_key.create", needs=["datalane.create_api_key"])
READ_KEYS = MATRIX.allow(Role.ADMIN, "api_key.read", needs=["datalane.list_api_keys"])
REVOKE_KEY = MATRIX.allow(Role.ADMIN, "api_key.revoke", needs=["datalane.revoke_api_key"])
