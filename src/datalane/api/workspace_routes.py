"""Workspaces and who owns them."""

from __future__ import annotations

from fastapi import APIRouter

from datalane.api.context import Caller
from datalane.api.door import HttpDoor
from datalane.db.transaction import Transaction
from datalane.errors import DatalaneError, Forbidden
from datalane.identity import ownership, workspaces
from datalane.identity.permissions import READ_WORKSPACE, RENAME_WORKSPACE, SET_SEARCH_LANGUAGE, TRANSFER_OWNERSHIP
from datalane.identity.schemas import (
    NewWorkspace,
    OwnedWorkspace,
    Ownership,
    OwnershipTransfer,
    SearchLanguage,
    Workspace,
    WorkspaceName,
    Workspaces,
)


def router(door: HttpDoor) -> APIRouter:
    routes = door.router(prefix="/workspaces", tags=["workspaces"])

    @routes.post("/create", status_code=201)
    async def create(body: NewWorkspace, caller: Caller = door.account_writer) -> Workspace:
        """A new workspace that the signed-in user owns."""
        if caller.identity.auth_method != "session":
            raise Forbidden("an API key acts in its own workspace; sign in to create one", denial="auth_method")
        if caller.transaction is None:
            raise DatalaneError("the door opened no transaction")
        if caller.context is not None:
            return await workspaces.create_workspace(caller.transaction, body.name)
        return await workspaces.create_workspace_for(
            caller.transaction, caller.identity.user_id, body.name, caller.correlation_id
        )

    @routes.get("/list")
    async def list_workspaces(caller: Caller = door.account) -> Workspaces:
        """The workspaces in which the caller is active; of an API key, its own."""
        if caller.identity.auth_method == "api_key" and caller.context is not None:
            READ_WORKSPACE.check(caller.context)
        async with door.lane.database.sign_in_door() as tx:
            found = await workspaces.list_workspaces(tx, caller.identity.user_id)
        if caller.identity.auth_method == "api_key":
            own = caller.identity.workspace_id
            found = [
                mine.model_copy(update={"role": caller.identity.role}) for mine in found if mine.workspace_id == own
            ]
        return Workspaces(data=found)

    _one_workspace(routes, door)
    return routes


def _one_workspace(routes: APIRouter, door: HttpDoor) -> None:
    @routes.get("/get")
    async def get(tx: Transaction = door.reader(READ_WORKSPACE)) -> OwnedWorkspace:
        """The workspace of this request, who owns it, and the caller's role in it."""
        return await workspaces.get_workspace(tx)

    @routes.post("/rename")
    async def rename(body: WorkspaceName, tx: Transaction = door.writer(RENAME_WORKSPACE)) -> OwnedWorkspace:
        """Give the workspace of this request another name."""
        return await workspaces.rename_workspace(tx, body.name)

    @routes.post("/search-language/set")
    async def set_search_language(
        body: SearchLanguage, tx: Transaction = door.writer(SET_SEARCH_LANGUAGE)
    ) -> OwnedWorkspace:
        """Say what language the texts of this workspace are in: `english` until then. Before the first text is."""
        return await workspaces.set_search_language(tx, body.search_language)

    @routes.post("/ownership/transfer")
    async def transfer(body: OwnershipTransfer, tx: Transaction = door.writer(TRANSFER_OWNERSHIP)) -> Ownership:
        """Hand the workspace to another active member. The former owner becomes an admin."""
        return await ownership.transfer_ownership(tx, body.user_id)
