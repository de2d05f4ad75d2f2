"""What may be done to a workspace, its members and its keys, and by whom.

Leaving is everybody's; removing others is `membership.remove`.
"""

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role

FOUND_WORKSPACE = MATRIX.allow(Role.VIEWER, "workspace.create", needs=["datalane.create_workspace"])
READ_WORKSPACE = MATRIX.allow(Role.VIEWER, "workspace.read", needs=["datalane.workspaces:select"])
READ_MEMBERS = MATRIX.allow(
    Role.VIEWER, "membership.read", needs=["datalane.memberships:select", "datalane.list_members"]
)
ADD_MEMBER = MATRIX.allow(Role.ADMIN, "membership.add", needs=["datalane.add_member"])
CHANGE_MEMBER = MATRIX.allow(Role.ADMIN, "membership.change", needs=["datalane.change_member"])
LEAVE = MATRIX.allow(Role.VIEWER, "membership.leave")
REMOVE_MEMBER = MATRIX.allow(Role.ADMIN, "membership.remove", needs=["datalane.remove_member"])
CREATE_KEY = MATRIX.allow(Role.ADMIN, "api_key.create", needs=["datalane.create_api_key"])
READ_KEYS = MATRIX.allow(Role.ADMIN, "api_key.read", needs=["datalane.list_api_keys"])
REVOKE_KEY = MATRIX.allow(Role.ADMIN, "api_key.revoke", needs=["datalane.revoke_api_key"])
