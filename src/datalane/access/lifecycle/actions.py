"""What rules may do with demo access: hand on a signal that a source has signed, such as one that came by a webhook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from datalane.access.lifecycle.handlers import take_signed
from datalane.access.lifecycle.signing import MOST_CHARACTERS, SignedSignals
from datalane.access.permissions import RELAY_SIGNALS
from datalane.contracts.storable import Text
from datalane.db.transaction import Transaction
from datalane.engine.actions import Action, ActionCall, Actions


class SignedSignal(BaseModel):
    model_config = ConfigDict(extra="forbid")

    signed: Annotated[Text, Field(min_length=1, max_length=MOST_CHARACTERS)]


def register_actions(actions: Actions, signals: SignedSignals) -> None:
    """Add them."""

    async def relay(tx: Transaction, said: SignedSignal, call: ActionCall) -> Mapping[str, Any]:
        return (await take_signed(tx, signals, said.signed)).model_dump(mode="json")

    actions.add(
        Action(
            "access.signal",
            "Hands on a signal of demo access that a source has signed.",
            SignedSignal,
            RELAY_SIGNALS,
            relay,
        )
    )
