"""The life of provider keys against a model of it, in any order that hypothesis thinks of.

Two replicas of the whole service run on one database and by one clock, which the test sets; an
operator's commands rotate the master secret and the data keys under them. After every step each
way of asking for a value, every list and every table must be as the model says, and the audit
trail must be whole and hold exactly what was done.

`LIFECYCLE_EXAMPLES=200` has it run that many examples instead of a few, other ones every time,
and shrinks what fails; without it a failure is told as it was found.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from model_service.custody import open_custody
from model_service.kernel.errors import Conflict, SecretMismatch
from model_service.kernel.secret import Secret
from model_service.vault.custody import Custody
from model_service.vault.rotation import SecretRotation
from tests.faults.lifecycle_model import USERS, Model
from tests.faults.lifecycle_requests import (
    DAY,
    HOUR,
    MOST_KEYS,
    OWNER,
    Create,
    Delete,
    Request,
    Rotate,
    Share,
    State,
    Wish,
    creations,
    numbers,
    rotations,
    wishes,
)
from tests.faults.lifecycle_world import (
    Comparison,
    Replica,
    World,
    answer_in,
    ask,
    content,
    master,
    prepared,
)

T = TypeVar("T")

FEW: Final = 8
EXAMPLES: Final = int(os.environ.get("LIFECYCLE_EXAMPLES", FEW))
STEPS: Final = 25
#: What an operator may do at any time.
OPERATIONS: Final = (
    "stage",
    "stage_after_a_leak",
    "finalize",
    "abandon",
    "change_term",
    "renew",
    "sign_a_checkpoint",
    "start_with_a_secret_of_the_past",
)


class Lifecycle(RuleBasedStateMachine):
    """One example: a database of its own, two replicas on it, and the model.

    What is drawn never depends on the state: what races lead to is not the same every time.
    """

    def __init__(self, world: World, runner: asyncio.Runner) -> None:
        super().__init__()
        self.world = world
        self.runner = runner
        self.world.model = Model()
        self.state = State(lambda: world.model)
        self.database = f"lifecycle_{secrets.token_hex(6)}"
        #: The secrets of the stored wraps, oldest first: two while a new one is staged.
        self.wraps = [0]
        self.secrets_made = 1
        self.leaked: set[int] = set()
        self.steps = 0
        self.replicas: list[Replica] = []
        self.comparison = Comparison(world, self.replicas)
        #: The key that the last step was about, and whether all was well after it.
        self.touched = ""
        self.agrees = False

    @property
    def model(self) -> Model:
        return self.world.model

    @property
    def replica(self) -> Replica:
        """The replica whose turn it is."""
        return self.replicas[self.steps % len(self.replicas)]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        self.agrees = False
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        async def started() -> None:
            await self.world.on_server(
                f'CREATE DATABASE "{self.database}" TEMPLATE "{self.world.template}"'
            )
            self.replicas.extend([await self.world.start(self.database, 0) for _ in range(2)])

        self.world.sandbox.clear()
        self.run(started())
        for owner, other in zip(USERS, USERS[1:] + USERS[:1], strict=True):
            self.do(Create(owner, False, "OPENAI", "first", "new", None).request(self.state))
            key_id = next(reversed(self.model.keys))
            self.do(Share(owner, other, "reveal", False, DAY).request(self.state, key_id))

    @override
    def teardown(self) -> None:
        """Everything is deleted, and then nothing must be left."""

        async def ended() -> None:
            for replica in self.replicas:
                await replica.stop()
            await self.world.on_server(f'DROP DATABASE "{self.database}" WITH (FORCE)')

        try:
            if self.agrees:
                for key_id in list(self.model.keys):
                    self.do(Delete(OWNER).request(self.state, key_id))
                self.run(self.comparison.nothing_left())
        finally:
            self.run(ended())

    # What users do.

    def key(self, number: int) -> str:
        self.touched = self.state.key(number)
        return self.touched

    def do(self, request: Request) -> None:
        """Ask, and compare the answer with the model's."""
        self.heard(request, self.run(ask(self.world, self.replica, request)))

    def heard(self, request: Request, response: httpx.Response) -> None:
        assert answer_in(response) == request.expected(self.model, content(response)), response.text

    @rule(creation=creations)
    def create(self, creation: Create) -> None:
        if len(self.model.keys) < MOST_KEYS:
            self.do(creation.request(self.state))

    @rule(number=numbers, rotation=rotations)
    def rotate(self, number: int, rotation: Rotate) -> None:
        self.do(rotation.request(self.state, self.key(number)))

    @rule(number=numbers, wish=wishes)
    def ask(self, number: int, wish: Wish) -> None:
        self.do(wish.request(self.state, self.key(number)))

    @rule(number=numbers, first=wishes, second=wishes)
    def race(self, number: int, first: Wish, second: Wish) -> None:
        """Two at once, each at a replica: what comes of it is what one after the other gives."""
        key_id = self.key(number)
        requests = [first.request(self.state, key_id), second.request(self.state, key_id)]

        async def both() -> list[httpx.Response]:
            pairs = zip(self.replicas, requests, strict=True)
            return await asyncio.gather(*[ask(self.world, *pair) for pair in pairs])

        answers = list(zip(requests, self.run(both()), strict=True))
        self.world.model = self.run(self.comparison.outcome(answers, key_id))

    # What happens to them.

    @rule(span=st.sampled_from((timedelta(minutes=1), HOUR, DAY)), retire=st.booleans())
    def time_passes(self, span: timedelta, retire: bool) -> None:
        self.model.moment += span
        if retire:
            assert self.run(self.replica.service.rotation.retirer.step()) == self.model.retire()

    @rule(number=numbers)
    def a_provider_withdraws_the_value(self, number: int) -> None:
        key = self.model.keys.get(self.key(number))
        if key is not None:
            self.model.withdrawn.add(key.value)
            sandbox = self.world.sandbox
            for stand_in in (sandbox.openai, sandbox.anthropic, sandbox.google):
                stand_in.revoked.add(key.value)

    @rule(number=numbers, behind=st.integers(0, 1))
    def a_call_is_refused(self, number: int, behind: int) -> None:
        """A call got 401 with the value in use, or with one used until a moment ago."""
        key_id = self.key(number)
        version, expected = self.model.report(key_id, behind)
        service = self.replica.service.rotation.service
        fallback = self.run(service.report_refused(UUID(key_id), version))
        assert (fallback.value.reveal() if fallback else None) == expected

    # What operators do.

    @rule(index=st.integers(0, 1), newest=st.booleans())
    def restart(self, index: int, newest: bool) -> None:
        """With the old secret as long as that opens anything, or with the new one."""
        secret = self.wraps[-1 if newest else 0]
        previous = self.wraps[0] if secret != self.wraps[0] else None

        async def restarted() -> Replica:
            await self.replicas[index].stop()
            return await self.world.start(self.database, secret, previous)

        self.replicas[index] = self.run(restarted())

    def sign_a_checkpoint(self) -> None:
        self.run(self.replica.service.ledger.checkpointer.cover())

    @rule(step=st.sampled_from(OPERATIONS))
    def operate(self, step: str) -> None:
        """One of the operator's commands."""
        getattr(self, step)()

    def start_with_a_secret_of_the_past(self) -> None:
        past = [number for number in range(self.secrets_made) if number not in self.wraps]
        for number in past[-1:]:
            with pytest.raises(SecretMismatch):
                self.run(self.world.start(self.database, number))

    def stage_after_a_leak(self) -> None:
        self.stage(compromised=True)

    def stage(self, *, compromised: bool = False) -> None:
        new = self.secrets_made

        async def staged() -> bool:
            async with self.custody(self.wraps[-1]) as custody:
                return await custody.secrets.stage(master(new), compromised=compromised)

        if self.attempt(staged(), refused=len(self.wraps) > 1):
            self.leaked |= set(self.wraps) if compromised else set()
            self.wraps.append(new)
            self.secrets_made += 1

    def finalize(self) -> None:
        self.leave_one(self.wraps[-1], SecretRotation.finalize)

    def abandon(self) -> None:
        self.leave_one(self.wraps[0], SecretRotation.abandon)

    def change_term(self) -> None:
        async def changed() -> int:
            async with self.custody(self.wraps[-1]) as custody:
                return await self.beside_beats(custody.change_term())

        self.attempt(changed(), refused=len(self.wraps) > 1 or self.wraps[0] in self.leaked)

    def renew(self) -> None:
        """After a leak: nothing stays sealed under what leaked."""

        async def renewed() -> None:
            async with self.custody(self.wraps[-1]) as custody:
                assert await self.beside_beats(custody.renew(lambda _: None)) == ()
                assert not (await custody.status()).exposed

        refused = self.is_used_beside(self.wraps[-1]) or self.wraps[-1] in self.leaked
        self.attempt(renewed(), refused=refused)
        if not refused:
            self.wraps = self.wraps[-1:]

    @rule(number=numbers, wish=wishes)
    def rewrap(self, number: int, wish: Wish) -> None:
        """Records move to the active term while somebody does something with one of them."""
        request = wish.request(self.state, self.key(number))

        async def moved() -> httpx.Response:
            service = self.replicas[0].service
            asking = ask(self.world, self.replicas[1], request)
            response, _ = await asyncio.gather(asking, service.rewrapper.finish(lambda _: None))
            await service.rewrapper.finish(lambda _: None)  # what came too late for the first
            for term in service.rewrapper.former_terms():
                assert not [t.name for t in service.rewrapper.tables if await t.count(term)]
            return response

        self.heard(request, self.run(moved()))

    # How it is done.

    @asynccontextmanager
    async def custody(self, secret: int) -> AsyncIterator[Custody]:
        """What `model-service secret` works with when it is run with a secret."""
        settings, url = self.world.settings_of(secret), self.world.url(self.database)
        async with open_custody(settings, url, self.world.redactor, "ada@host") as custodian:
            yield custodian.custody

    async def beside_beats(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something that waits for the replicas to take in what changed."""
        task = asyncio.create_task(work)
        while not task.done():
            for replica in self.replicas:
                await replica.service.watch.step()
        return await task

    def attempt(self, work: Coroutine[Any, Any, T], *, refused: bool) -> T | None:
        """Do something, or see it refused."""
        if not refused:
            return self.run(work)
        with pytest.raises(Conflict):
            self.run(work)
        return None

    def is_used_beside(self, secret: int) -> bool:
        """Whether a replica was started with another secret than that."""
        return any(replica.secret != secret for replica in self.replicas)

    def leave_one(
        self, keep: int, end: Callable[[SecretRotation], Awaitable[Sequence[str]]]
    ) -> None:
        """End the rotation of the secret, one way or the other."""

        async def ended() -> Sequence[str]:
            async with self.custody(keep) as custody:
                return await end(custody.secrets)

        deleted = self.attempt(ended(), refused=self.is_used_beside(keep))
        if deleted is not None:
            assert len(deleted) == len(self.wraps) - 1
            self.wraps = [keep]

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if self.replicas:
            self.steps += 1
            self.run(self.comparison.everything(self.touched, self.steps))
            self.agrees = True


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    # With a factory it leaves alone which loop is the current one for everybody else.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yield runner


@pytest.fixture
def world(
    runner: asyncio.Runner,
    server_url: Secret[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    stack = AsyncExitStack()
    world = runner.run(stack.enter_async_context(prepared(server_url, tmp_path)))
    for module, name, instead in world.substitutes:
        monkeypatch.setattr(module, name, instead)
    runner.run(world.prepare())
    yield world
    runner.run(stack.aclose())


@pytest.mark.timeout(40 * EXAMPLES)
def test_keys_are_what_the_model_says_whatever_is_done_in_whatever_order(
    world: World, runner: asyncio.Runner
) -> None:
    is_usual = EXAMPLES == FEW
    run_state_machine_as_test(
        lambda: Lifecycle(world, runner),  # type: ignore[arg-type] # a factory does
        settings=hypothesis_settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=is_usual,
            database=None,
            phases=[Phase.generate] if is_usual else [Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow],
            print_blob=False,
        ),
    )
