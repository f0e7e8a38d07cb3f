"""The tokens in memory: found without the database, never found once revoked or expired."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta

import pytest

from model_service.access import directory as module
from model_service.access.directory import STALENESS_BOUND, TokenDirectory
from model_service.access.domain import Token
from model_service.access.last_use import LastUse
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.principal import Role, Scopes
from tests.access_tokens import HASHER, NOW, MemoryTokens, SetClock, make_token


class Known:
    """A directory on a store in memory."""

    def __init__(self, *tokens: Token) -> None:
        self.clock = SetClock()
        self.age = 0.0
        self.store = MemoryTokens(*tokens)
        self.directory = TokenDirectory(
            self.store, HASHER, self.clock, lambda: self.age, self.clock.monotonic
        )


async def test_a_loaded_token_is_found_without_asking_the_database() -> None:
    token, text = make_token(role=Role.USER, user_id="alice", scopes=Scopes.of(models=["m"]))
    known = Known(token)
    await known.directory.load()
    known.store.asked.clear()
    principal = known.directory.find(text)
    assert principal == token.principal
    assert principal is not None
    assert principal.user_id == "alice"
    assert known.store.asked == []


async def test_loading_takes_batch_after_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    made = [make_token() for _ in range(8)]
    known = Known(*(token for token, _ in made))
    await known.directory.load()
    assert known.store.asked == ["live"] * 4
    assert all(known.directory.find(text) for _, text in made)


async def test_a_wrong_secret_is_as_unknown_as_a_wrong_id() -> None:
    token, text = make_token()
    known = Known(token)
    await known.directory.load()
    wrong = text[:-1] + (b"0" if text[-1:] != b"0" else b"1")
    _, unknown = make_token()
    assert known.directory.find(wrong) is known.directory.find(unknown) is None
    assert await known.directory.look_up(wrong) is await known.directory.look_up(unknown) is None
    assert known.store.asked == ["live", "live", "find", "find"]


async def test_a_token_expires_at_its_moment() -> None:
    token, text = make_token(expires_at=NOW + timedelta(seconds=10))
    known = Known(token)
    await known.directory.load()
    known.clock.advance(9.999)
    assert known.directory.find(text) is not None
    known.clock.advance(0.001)
    assert known.directory.find(text) is None
    assert await known.directory.look_up(text) is None
    known.directory.forget_expired()
    assert len(known.directory) == 0


async def test_expired_tokens_are_not_loaded_nor_put_back_by_a_notice() -> None:
    token, text = make_token(expires_at=NOW)
    known = Known(token)
    await known.directory.load()
    await known.directory.on_change(str(token.id))
    assert known.directory.find(text) is None


async def test_a_token_made_elsewhere_is_looked_up_once_for_all_who_show_it() -> None:
    token, text = make_token()
    known = Known(token)
    known.store.hold = asyncio.Event()
    waiting = [asyncio.create_task(known.directory.look_up(text)) for _ in range(50)]
    await asyncio.sleep(0)
    known.store.hold.set()
    assert await asyncio.gather(*waiting) == [token.principal] * 50
    assert known.store.asked == ["find"]
    assert known.directory.find(text) == token.principal


async def test_what_is_no_token_is_not_looked_up() -> None:
    known = Known()
    for text in (b"", b"msk_", b"Bearer", b"\xff" * 101):
        assert await known.directory.look_up(text) is None
    assert known.store.asked == []


async def test_an_unknown_token_is_not_looked_up_again_at_once() -> None:
    _, text = make_token()
    known = Known()
    await known.directory.look_up(text)
    await known.directory.look_up(text)
    assert known.store.asked == ["find"]
    known.clock.advance(module.UNKNOWN_SECONDS)
    await known.directory.look_up(text)
    assert known.store.asked == ["find", "find"]


async def test_made_up_tokens_cannot_keep_the_database_busy() -> None:
    known = Known()
    for _ in range(2 * module.LOOKUPS_PER_MINUTE):
        assert await known.directory.look_up(make_token()[1]) is None
    assert len(known.store.asked) == module.LOOKUPS_PER_MINUTE
    known.clock.advance(60 / module.LOOKUPS_PER_MINUTE)
    await known.directory.look_up(make_token()[1])
    assert len(known.store.asked) == module.LOOKUPS_PER_MINUTE + 1


async def test_what_is_remembered_of_unknown_tokens_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_UNKNOWN", 5)
    known = Known()
    for _ in range(20):
        await known.directory.look_up(make_token()[1])
    assert len(known.directory._unknown_until) == 5


async def test_a_failed_look_up_says_so_to_all_and_is_tried_again() -> None:
    token, text = make_token()
    known = Known(token)
    known.store.available = False
    outcomes = await asyncio.gather(
        *(known.directory.look_up(text) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 3
    known.store.available = True
    assert await known.directory.look_up(text) == token.principal


async def test_a_notice_of_a_new_token_makes_it_known_and_of_a_revoked_one_unknown() -> None:
    token, text = make_token()
    known = Known(token)
    await known.directory.on_change(str(token.id))
    assert known.directory.find(text) == token.principal
    await known.store.delete(token.id)
    await known.directory.on_change(str(token.id))
    assert known.directory.find(text) is None


async def test_a_notice_of_anything_has_all_read_anew() -> None:
    (gone, gone_text), (new, new_text) = make_token(), make_token()
    known = Known(gone)
    await known.directory.load()
    del known.store.tokens[gone.id]
    known.store.tokens[new.id] = new
    await known.directory.on_change(None)
    assert known.directory.find(gone_text) is None
    assert known.directory.find(new_text) == new.principal


@pytest.mark.parametrize("reading", ["load", "on_change", "look_up"])
async def test_a_token_revoked_while_it_is_being_read_stays_revoked(reading: str) -> None:
    token, text = make_token()
    known = Known(token)
    known.store.hold = asyncio.Event()
    reads: dict[str, Callable[[], Coroutine[None, None, object]]] = {
        "load": known.directory.load,
        "on_change": lambda: known.directory.on_change(str(token.id)),
        "look_up": lambda: known.directory.look_up(text),
    }
    task = asyncio.create_task(reads[reading]())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert known.store.asked, "the token has been read"
    known.directory.drop(token.id)
    del known.store.tokens[token.id]
    known.store.hold.set()
    await task
    assert known.directory.find(text) is None


async def test_a_failed_load_leaves_what_is_known() -> None:
    token, text = make_token()
    known = Known(token)
    await known.directory.load()
    known.store.available = False
    with pytest.raises(DatabaseUnavailable):
        await known.directory.load()
    assert known.directory.find(text) == token.principal


async def test_without_word_from_the_database_tokens_are_believed_for_a_stated_time() -> None:
    token, text = make_token()
    known = Known(token)
    await known.directory.load()
    known.age = STALENESS_BOUND
    assert known.directory.find(text) == token.principal
    known.age = STALENESS_BOUND + 0.1
    with pytest.raises(DatabaseUnavailable):
        known.directory.find(text)
    assert known.directory.find(make_token()[1]) is None


async def test_uses_are_noted_together_and_kept_while_the_database_is_away() -> None:
    (first, first_text), (second, second_text) = make_token(), make_token()
    known = Known(first, second)
    await known.directory.load()
    last_use = LastUse(known.directory, known.store)
    for _ in range(10):
        known.directory.find(first_text)
    known.store.available = False
    await last_use.step()
    known.clock.advance(5)
    known.directory.find(second_text)
    known.store.available = True
    await last_use.step()
    assert known.store.noted == [{first.id: NOW, second.id: NOW + timedelta(seconds=5)}]
    await last_use.step()
    assert len(known.store.noted) == 1


async def test_a_later_use_is_not_lost_to_one_that_could_not_be_noted() -> None:
    token, text = make_token()
    known = Known(token)
    await known.directory.load()
    known.directory.find(text)
    uses = known.directory.take_uses()
    known.clock.advance(7)
    known.directory.find(text)
    known.directory.give_back_uses(uses)
    assert known.directory.take_uses() == {token.id: NOW + timedelta(seconds=7)}


async def test_a_dropped_token_is_never_known_again_however_many_were_dropped_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_DROPPED", 3)
    made = [make_token() for _ in range(5)]
    known = Known(*(token for token, _ in made))
    for token, _ in made:
        known.directory.drop(token.id)
    await known.directory.load()
    found = [known.directory.find(text) is not None for _, text in made]
    assert found == [True, True, False, False, False], "the oldest are forgotten first"


async def test_expired_tokens_are_let_go_of_in_the_order_of_their_expiry() -> None:
    made = [make_token(expires_at=NOW + timedelta(seconds=n)) for n in (30, 10, 20, 40)]
    known = Known(*(token for token, _ in made))
    await known.directory.load()
    sizes = []
    for _ in range(4):
        known.clock.advance(10)
        known.directory.forget_expired()
        sizes.append(len(known.directory))
    assert sizes == [3, 2, 1, 0]


async def test_a_dropped_token_takes_no_place_any_more() -> None:
    (first, first_text), (second, second_text) = make_token(), make_token()
    known = Known(first, second)
    await known.directory.load()
    known.directory.drop(first.id)
    assert len(known.directory) == 1
    assert known.directory.find(first_text) is None
    assert known.directory.find(second_text) == second.principal


async def test_a_token_that_was_unknown_and_is_known_now_is_not_remembered_as_unknown() -> None:
    token, text = make_token()
    known = Known()
    await known.directory.look_up(text)
    assert len(known.directory._unknown_until) == 1
    known.directory.put(token)
    assert len(known.directory._unknown_until) == 0


async def test_the_unknown_tokens_forgotten_first_are_those_asked_for_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_UNKNOWN", 2)
    texts = [make_token()[1] for _ in range(3)]
    known = Known()
    for text in texts:
        await known.directory.look_up(text)
    for text in reversed(texts):
        await known.directory.look_up(text)
    assert known.store.asked == ["find"] * 4


async def test_the_id_in_a_token_is_told_whether_it_is_known_or_not() -> None:
    token, text = make_token()
    known = Known()
    assert known.directory.claimed_id(text) == token.id
    assert known.directory.claimed_id(b"msk_") is None


async def test_a_look_up_that_was_given_up_does_not_stop_those_who_wait_for_the_same() -> None:
    token, text = make_token()
    known = Known(token)
    known.store.hold = asyncio.Event()
    gone, waiting = (asyncio.create_task(known.directory.look_up(text)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    known.store.hold.set()
    assert await waiting == token.principal
    assert known.directory._under_way == {}


async def test_uses_are_handed_over_once() -> None:
    token, text = make_token()
    known = Known(token)
    await known.directory.load()
    known.directory.find(text)
    assert known.directory.take_uses() == {token.id: NOW}
    assert known.directory.take_uses() == {}


async def test_a_refused_look_is_no_use_of_a_token() -> None:
    token, text = make_token(expires_at=NOW + timedelta(seconds=1))
    known = Known(token)
    await known.directory.load()
    known.clock.advance(1)
    assert known.directory.find(text) is None
    assert known.directory.find(text[:-1] + b"?") is None
    assert known.directory.take_uses() == {}
