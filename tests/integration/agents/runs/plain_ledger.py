"""The ledger as plain Python: what each call of it is to answer, told from the states alone and from no row."""

from __future__ import annotations

from dataclasses import dataclass, field

LEASE, PATIENCE = 60, 3_600
OPEN = ("authorized", "executing", "retrying")
OVER = ("completed", "failed", "blocked_policy", "escalated_human")


@dataclass
class PlainCall:
    status: str
    serial: bool
    attempts: int = 0

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


@dataclass
class PlainRun:
    """`token` is that of the lease, `deadline` in seconds since the beginning of the history."""

    max_attempts: int
    status: str
    token: int
    attempts: int
    deadline: int
    calls: list[PlainCall] = field(default_factory=list)

    @property
    def open_calls(self) -> list[PlainCall]:
        return [call for call in self.calls if call.is_open]

    def holds(self, token: int) -> bool:
        return self.token == token and self.status in ("running", "waiting_tool")

    def settle(self) -> None:
        if self.status in ("running", "waiting_tool"):
            self.status = "waiting_tool" if self.open_calls else "running"

    def close_calls(self) -> None:
        for call in self.open_calls:
            call.status = "canceled" if call.status == "authorized" else "failed"

    def lose(self, at: int) -> None:
        self.close_calls()
        if self.attempts < self.max_attempts:
            self.status, self.deadline = "retrying", at
        else:
            self.status = "failed"

    def take(self, at: int) -> str:
        if self.status in OVER:
            return "illegal_transition"
        if self.status in ("running", "waiting_tool"):
            if self.deadline >= at:
                return "conflict"
            self.lose(at)
            if self.status == "failed":
                return "lost"
        self.status, self.token, self.deadline = "running", self.token + 1, at + LEASE
        self.attempts += 1
        return "done"

    def sweep(self, at: int) -> None:
        if self.status in OVER or self.deadline >= at:
            return
        if self.status in ("running", "waiting_tool"):
            self.lose(at + PATIENCE)
        else:
            self.status = "failed"

    def beat(self, token: int, at: int) -> str:
        if not self.holds(token):
            return "lost"
        self.deadline = at + LEASE
        return "done"

    def ask(self, token: int, outcome: str, serial: bool, execute: bool) -> str:
        if not self.holds(token):
            return "lease_lost"
        if outcome == "authorized" and self.open_calls and (serial or any(call.serial for call in self.open_calls)):
            return "conflict"
        if outcome == "escalated" and self.open_calls:
            return "conflict"
        status = {"authorized": "executing" if execute else "authorized", "escalated": "requested"}.get(
            outcome, outcome
        )
        self.calls.append(PlainCall(status, serial, int(status == "executing")))
        if outcome == "escalated":
            self.status = "escalated_human"
        self.settle()
        return "done"

    def move(self, token: int, number: int, sources: tuple[str, ...], target: str) -> str:
        if not self.holds(token):
            return "lease_lost"
        call = self.calls[number]
        if call.status not in sources:
            return "illegal_transition"
        call.status = target
        call.attempts += target == "executing"
        self.settle()
        return "done"

    def end(self, token: int, outcome: str) -> str:
        if not self.holds(token):
            return "lease_lost"
        self.close_calls()
        self.status = outcome
        return "done"

    def resolve(self, number: int, approve: bool) -> str:
        call = self.calls[number]
        if call.status != "requested":
            return "conflict"
        call.status = "canceled" if approve else "blocked_policy"
        return "done"
