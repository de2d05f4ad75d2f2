"""Random lives of items against a model of plain values: what is stored is what the model says, after every step.

The seed in a test's name chooses the steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import pytest
from tests.integration.work.conftest import Desk

from datalane.errors import Conflict, DatalaneError, IllegalTransition, NotFound, StaleVersion
from datalane.work.items import service
from datalane.work.items.schemas import Item, ItemChanges, ItemTarget, ItemTransition, ItemUpdate, NewItem

STEPS = {"draft": ("active",), "active": ("archived",), "archived": ("active",)}
TAGS = ("red", "green", "blue", "größe")
KEYS = ("cost", "team", "due")


@dataclass
class Modelled:
    """What one item must be; `changed[v]` are the fields that made version `v` out of the one before."""

    fields: dict[str, Any]
    status: str = "draft"
    deleted: bool = False
    version: int = 1
    changed: dict[int, set[str]] = field(default_factory=dict)

    def since(self, version: int) -> set[str]:
        return {name for at, names in self.changed.items() if at > version for name in names}

    def becomes(self, names: set[str]) -> None:
        self.version += 1
        self.changed[self.version] = names


@dataclass
class World:
    desk: Desk
    chosen: Random
    items: dict[UUID, Modelled] = field(default_factory=dict)

    async def step(self) -> None:
        if not self.items or self.chosen.random() < 0.15:
            await self.create()
            return
        item_id = self.chosen.choice(list(self.items))
        await self.chosen.choice([self.edit, self.edit, self.edit, self.move, self.delete, self.restore])(item_id)

    async def create(self) -> None:
        new = [self._said() for _ in range(self.chosen.randint(1, 4))]
        async with self.desk.database.transaction(self.desk.context) as tx:
            made = await service.create_items(tx, [NewItem(**each) for each in new])
        for item, said in zip(made, new, strict=True):
            assert isinstance(item, Item), item
            self.items[item.item_id] = Modelled(said | {"tags": sorted(set(said["tags"]))})

    async def edit(self, item_id: UUID) -> None:
        known = self.items[item_id]
        seen = max(1, known.version - self.chosen.choice([0, 0, 1, 2, 5]))
        merges = self.chosen.random() < 0.5
        changes = self._changes()
        ask = ItemUpdate(
            item_id=item_id,
            version=seen,
            changes=ItemChanges(**changes),
            on_conflict="merge" if merges else "fail",
        )
        outcome = await self._ask(service.update_items, ask)
        wanted = {name for name in changes if name != "metadata"} | {
            f"metadata.{k}" for k in changes.get("metadata", {})
        }
        if known.deleted:
            assert isinstance(outcome, NotFound)
        elif seen < known.version and (not merges or wanted & known.since(seen)):
            assert isinstance(outcome, StaleVersion), outcome
            assert set(outcome.told["changed_fields"]) == known.since(seen)
            assert set(outcome.told["conflicting_fields"]) == known.since(seen) & wanted
        else:
            assert isinstance(outcome, Item), outcome
            names = self._apply(known, changes)
            if names:
                known.becomes(names)
            assert outcome.version == known.version

    async def move(self, item_id: UUID) -> None:
        known, status = self.items[item_id], self.chosen.choice(list(STEPS))
        ask = ItemTransition(item_id=item_id, version=known.version, status=status)  # type: ignore[arg-type]
        outcome = await self._ask(service.transition_items, ask)
        if known.deleted:
            assert isinstance(outcome, NotFound)
        elif status not in STEPS[known.status]:
            assert isinstance(outcome, IllegalTransition)
        else:
            assert isinstance(outcome, Item), outcome
            known.status = status
            known.becomes({"status"})

    async def delete(self, item_id: UUID) -> None:
        await self._aim(item_id, service.delete_item, deleted=True)

    async def restore(self, item_id: UUID) -> None:
        await self._aim(item_id, service.restore_item, deleted=False)

    async def _aim(self, item_id: UUID, act: Any, *, deleted: bool) -> None:
        known = self.items[item_id]
        target = ItemTarget(item_id=item_id, version=known.version)
        try:
            async with self.desk.database.transaction(self.desk.context) as tx:
                await act(tx, target)
        except NotFound:
            assert known.deleted == deleted
            return
        assert known.deleted != deleted
        known.deleted = deleted
        known.becomes({"deleted"})

    async def _ask(self, act: Any, ask: Any) -> Item | DatalaneError:
        async with self.desk.database.transaction(self.desk.context) as tx:
            outcome: Item | DatalaneError = the_one(await act(tx, [ask]))
        assert not isinstance(outcome, Conflict) or isinstance(outcome, StaleVersion | IllegalTransition), outcome
        return outcome

    def _said(self) -> dict[str, Any]:
        return {
            "title": f"Title {self.chosen.randint(1, 9)}",
            "description": self.chosen.choice(["", "Words and more words", "Größe 数据"]),
            "priority": self.chosen.randint(0, 4),
            "tags": self.chosen.choices(TAGS, k=self.chosen.randint(0, 3)),
            "metadata": {key: self.chosen.randint(0, 3) for key in KEYS if self.chosen.random() < 0.5},
        }

    def _changes(self) -> dict[str, Any]:
        said = self._said()
        said["metadata"] = {key: value or None for key, value in said["metadata"].items()}
        return {name: said[name] for name in self.chosen.sample(list(said), self.chosen.randint(1, 3))}

    def _apply(self, known: Modelled, changes: dict[str, Any]) -> set[str]:
        """Answers the fields that differ afterwards."""
        names = set[str]()
        for name, value in changes.items():
            if name == "metadata":
                for key, one in value.items():
                    if known.fields["metadata"].get(key) != one:
                        names.add(f"metadata.{key}")
                merged = {**known.fields["metadata"], **value}
                known.fields["metadata"] = {key: one for key, one in merged.items() if one is not None}
                continue
            value = sorted(set(value)) if name == "tags" else value
            if known.fields[name] != value:
                names.add(name)
            known.fields[name] = value
        return names

    async def check(self) -> None:
        for item_id, known in self.items.items():
            async with self.desk.database.transaction(self.desk.context) as tx:
                item = await service.get_item(tx, item_id, deleted=known.deleted)
            told = item.model_dump(include=set(known.fields))
            assert (told, item.status, item.version) == (known.fields, known.status, known.version)
            assert (item.archived_at is not None) == (known.status == "archived")
        assert await self.desk.faults() == []


def the_one(outcomes: list[Item | DatalaneError]) -> Item | DatalaneError:
    (outcome,) = outcomes
    return outcome


async def assert_lives_as_modelled(desk: Desk, seed: int, steps: int) -> None:
    world = World(desk, Random(seed))
    for _ in range(steps):
        await world.step()
    await world.check()


@pytest.mark.parametrize("seed", [1, 2])
async def test_items_live_as_the_model_says(desk: Desk, seed: int) -> None:
    await assert_lives_as_modelled(desk, seed, 120)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 112))
async def test_items_live_long_as_the_model_says(desk: Desk, seed: int) -> None:
    await assert_lives_as_modelled(desk, seed, 600)
