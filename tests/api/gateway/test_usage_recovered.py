"""What is counted of a stream that several attempts made: each of them once."""

import secrets
from decimal import Decimal

from model_service.kernel.types import Provider
from model_service.sandbox.stand_in import Billed
from tests.api.gateway.usage_events import INPUT, OUTPUT, Caller
from tests.faults.gateway_doors import OPENAI_CHAT
from tests.gateway_world import GatewayWorld

RECOVERING = {"policy": {"recovery": "continue"}}


async def test_a_recovered_stream_counts_the_lost_attempt_and_the_one_that_ended_it(
    world: GatewayWorld,
) -> None:
    caller = await Caller.new(
        world,
        Provider.OPENAI,
        modelId=f"fault-cut-once.{secrets.token_hex(3)}",
        providerSettings=RECOVERING,
    )
    answer, event = await caller.ask(OPENAI_CHAT, stream=True)
    assert answer.status == event.status == 200
    assert OPENAI_CHAT.is_complete(answer)
    lost, ended = _billed(caller)
    assert event.attempts == 2
    assert event.estimated
    assert event.error_class is None
    assert ended.output < event.output_tokens <= ended.output + lost.output
    assert event.input_tokens > ended.input
    assert event.cost == _cost(event.input_tokens, event.output_tokens)


async def test_a_stream_that_nobody_could_recover_counts_no_attempt_twice(
    world: GatewayWorld,
) -> None:
    caller = await Caller.new(
        world,
        Provider.OPENAI,
        modelId=f"fault-cut.{secrets.token_hex(3)}",
        providerSettings=RECOVERING,
    )
    answer, event = await caller.ask(OPENAI_CHAT, stream=True)
    assert answer.status == event.status == 200
    assert OPENAI_CHAT.errors(answer)
    attempts = _billed(caller)
    assert event.attempts == len(attempts) > 1
    assert event.estimated
    assert event.error_class == "upstream_error"
    assert 0 < event.output_tokens <= sum(one.output for one in attempts)
    assert event.cost == _cost(event.input_tokens, event.output_tokens)


async def test_a_stream_cut_for_good_is_of_the_model_whose_part_the_caller_has(
    world: GatewayWorld,
) -> None:
    other = await Caller.new(
        world, Provider.ANTHROPIC, modelId=f"fault-context.{secrets.token_hex(3)}"
    )
    caller = await Caller.new(
        world,
        Provider.OPENAI,
        modelId=f"fault-cut.{secrets.token_hex(3)}",
        providerSettings=RECOVERING,
        fallbacks=[other.model],
    )
    await world.key(Provider.ANTHROPIC, "sk-sandbox-" + secrets.token_hex(8), user=caller.user)
    _, event = await caller.ask(OPENAI_CHAT, stream=True)
    assert (event.model, event.fallback_from) == (caller.model, None)
    assert str(event.key_id) == caller.key_id


def _billed(caller: Caller) -> list[Billed]:
    return list(caller.world.sandbox.openai.usage)


def _cost(tokens_in: int, tokens_out: int) -> Decimal:
    return (tokens_in * INPUT + tokens_out * OUTPUT) / 1000
