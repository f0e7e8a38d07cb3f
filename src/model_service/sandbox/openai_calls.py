"""The calls that OpenAI and Azure answer alike: chat, responses, tokens and embeddings."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from model_service.sandbox import openai_chat as chat
from model_service.sandbox import openai_chat_rules as chat_rules
from model_service.sandbox import openai_embeddings as embeddings
from model_service.sandbox import openai_faults as faults
from model_service.sandbox import openai_responses as responses
from model_service.sandbox import openai_responses_rules as responses_rules
from model_service.sandbox import openai_responses_stream as responses_stream
from model_service.sandbox.delivery import Mark, StreamForm, streamed, whole
from model_service.sandbox.faults import Fault
from model_service.sandbox.openai_cache import PromptCache
from model_service.sandbox.openai_chat import Chunk, Completion, Spent
from model_service.sandbox.openai_memory import Memory
from model_service.sandbox.openai_models import Abilities
from model_service.sandbox.openai_responses import Answer
from model_service.sandbox.openai_shapes import Refused, text
from model_service.sandbox.openai_wire import event
from model_service.sandbox.script import Ask, Reply, fragments, reply
from model_service.sandbox.stand_in import Billed, KeyedStandIn

_NOT_JSON: Final = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
    "your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was "
    "not valid JSON. If you have trouble figuring out how to fix this, please contact us through "
    "our help center at help.openai.com.)"
)
_NO_CHAT: Final = (
    "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you "
    "mean to use v1/completions?"
)
_MALFORMED: Final = b'data: {"id":"chatcmpl-\n\n'
_MALFORMED_TYPED: Final = b'event: response.output_text.delta\ndata: {"type":"response.outp\n\n'


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model: `name` as it was asked for, `model` as the answer calls it.

    `input_field` is where the conversation stands in the body.
    """

    request: Request
    body: Mapping[str, Any]  # Any: a wire edge, checked by the rules of the call
    name: str
    model: str
    can: Abilities
    fault: Fault | None
    input_field: str

    @property
    def stream(self) -> bool:
        """Whether the answer is to come in events."""
        return bool(self.body.get("stream"))


Answering = Callable[[Call], Response]


class OpenAICalls(KeyedStandIn):
    """A stand-in that serves models as OpenAI does."""

    def __init__(self) -> None:
        super().__init__()
        self._cache = PromptCache()
        self._memory = Memory()

    @override
    def clear(self) -> None:
        """Forget cached prompts and kept responses as well."""
        super().clear()
        self._cache.clear()
        self._memory.clear()

    async def chat(self, request: Request) -> Response:
        """POST .../chat/completions."""
        return await self._answered(request, "messages", self._chat)

    async def respond(self, request: Request) -> Response:
        """POST .../responses."""
        return await self._answered(request, "input", self._respond)

    async def count(self, request: Request) -> Response:
        """POST .../responses/input_tokens."""
        return await self._answered(request, "input", self._count)

    async def embed(self, request: Request) -> Response:
        """POST .../embeddings."""
        return await self._answered(request, "input", self._embed)

    @abstractmethod
    def found(self, name: str) -> tuple[str, Abilities] | None:
        """The snapshot behind a model's or a deployment's name, and what it takes."""

    @abstractmethod
    def not_found(self, name: str) -> Response:
        """The answer to a name that is not there."""

    @abstractmethod
    def _reply(self, content: Mapping[str, object], status: int = 200) -> Response:
        """JSON with the provider's headers."""

    @abstractmethod
    def refusal(self, refused: Refused) -> Response:
        """An error in the provider's own shape."""

    def named(self, request: Request, body: Mapping[str, Any]) -> str:  # noqa: ARG002
        """The model that is asked for; Azure may have it in the path. Raises Refused for none."""
        if not body.get("model"):
            raise Refused("you must provide a model parameter")
        text()(body["model"], "model")
        return str(body["model"])

    def fault_error(self, fault: Fault, call: Call) -> Response:
        """The provider's own error for a fault."""
        key = self._key(call.request)
        if fault is Fault.UNAUTHENTICATED:
            return self.key_refused(call.request, key)
        if fault is Fault.NOT_FOUND:
            return self.not_found(call.name)
        response = self.refusal(faults.error(fault, call.name, key, call.input_field))
        if fault is Fault.LIMITED:
            response.headers.update(faults.retry_headers())
        if fault is Fault.ECHO:
            response.headers["x-echoed-key"] = key
        return response

    def dressed(self, completion: Chunk) -> Chunk:
        """A whole chat completion as this provider gives it."""
        return completion

    def dressed_chunks(self, chunks: Iterator[tuple[Chunk, Mark]]) -> Iterator[tuple[Chunk, Mark]]:
        """The chunks of a chat completion as this provider gives them."""
        return chunks

    def _key(self, request: Request) -> str:
        credential = self.credential(request)
        return credential.value if credential else ""

    async def _answered(self, request: Request, input_field: str, answer: Answering) -> Response:
        try:
            body = _parsed(await request.body())
            name = self.named(request, body)
            fault = self.fault_of(name)
            found = self.found(name)
            if found is None:
                return self.not_found(name)
            call = Call(request, body, name, *found, fault, input_field)
            if fault is not None and fault.comes_first:
                return self.instead(fault, lambda due: self.fault_error(due, call))
            response = answer(call)
        except Refused as refused:
            return self.refusal(refused)
        return response

    def _chat(self, call: Call) -> Response:
        if not call.can.chat:
            raise Refused(_NO_CHAT, "model", status=404)
        chat_rules.check(call.body, call.name, call.can)
        asked = chat.ask(call.body, call.can)
        given, filtered = self._given(call, asked)
        spent = self._spent(call, asked, given, call.body.get("n") or 1)
        done = Completion(call.body, call.model, given, spent, call.can.cache_writes, filtered)
        if not call.stream:
            return self._whole(call, self.dressed(done.whole()))
        pieces = chat.pieces(self.dressed_chunks(done.chunks()))
        broken = faults.broken()
        form = StreamForm(
            error=event({"error": body_of(broken)}),
            malformed=_MALFORMED,
            text=lambda more: event(done.more(more)),
        )
        return streamed(pieces, call.fault, self.pace, form, self._stream_headers())

    def _respond(self, call: Call) -> Response:
        items = responses_rules.check(call.body, call.name, call.can, self._memory)
        if not call.can.chat:
            raise Refused(
                f"The model '{call.name}' cannot be used with the Responses API.", "model"
            )
        asked = responses.ask(call.body, items, call.can)
        given, filtered = self._given(call, asked)
        spent = self._spent(call, asked, given)
        sealed = None
        if "reasoning.encrypted_content" in (call.body.get("include") or ()):
            sealed = self._memory.seal(given.reasoning or "")
        done = Answer(call.body, call.model, call.can, given, spent, sealed, filtered)
        if done.stored:
            self._memory.keep(done.id, items, done.output)
        if not call.stream:
            return self._whole(call, done.whole())
        form = StreamForm(
            error=responses_stream.failure(done, faults.broken().message),
            malformed=_MALFORMED_TYPED,
            text=lambda more: responses_stream.text_event(done, more),
        )
        pieces = responses_stream.pieces(done, responses_stream.steps(done))
        return streamed(pieces, call.fault, self.pace, form, self._stream_headers())

    def _count(self, call: Call) -> Response:
        items = responses_rules.check(call.body, call.name, call.can, self._memory, counting=True)
        tokens = reply(responses.ask(call.body, items, call.can)).input_tokens
        content = {"object": "response.input_tokens", "input_tokens": tokens}
        return self._whole(call, content)

    def _embed(self, call: Call) -> Response:
        embeddings.check(call.body, call.can)
        used = embeddings.spent(call.body)
        self._bill(call, Spent(used, 0, 0, 0, 0))
        return self._whole(call, embeddings.answer(call.body, call.model, call.can))

    def _given(self, call: Call, asked: Ask) -> tuple[Reply, bool]:
        """The answer, and whether a filter cut it off, which a text that says `filtered` wants."""
        given = reply(asked)
        if given.input_tokens > call.can.window:
            raise faults.too_long(call.can.window, given.input_tokens, call.input_field)
        if "filtered" not in asked.text.lower() or not given.text or given.finish != "stop":
            return given, False
        tokens = fragments(given.text)
        kept = tokens[: len(tokens) // 2]
        output = given.output_tokens - len(tokens) + len(kept)
        return replace(given, text="".join(kept), output_tokens=output), True

    def _spent(self, call: Call, asked: Ask, given: Reply, choices: int = 1) -> Spent:
        cached, written = self._cache.use(call.model, asked.prompt_text)
        cached = max(cached, given.cached_tokens)
        spent = Spent(
            prompt=given.input_tokens,
            cached=cached,
            written=min(written, given.input_tokens - cached) if call.can.cache_writes else 0,
            completion=given.output_tokens * choices,
            reasoning=given.reasoning_tokens * choices,
        )
        self._bill(call, spent)
        return spent

    def _bill(self, call: Call, spent: Spent) -> None:
        self.usage.append(
            Billed(
                model=call.name,
                path=call.request.url.path,
                stream=call.stream,
                input=spent.prompt - spent.cached - spent.written,
                cached_input=spent.cached,
                cache_write=spent.written,
                output=spent.completion,
                reasoning=spent.reasoning,
                fault=call.fault,
            )
        )

    def _whole(self, call: Call, content: Mapping[str, object]) -> Response:
        answer = self._reply(content)
        answer.headers.update(faults.limits())
        return whole(answer, call.fault, self.pace, self.refusal(faults.broken()))

    def _stream_headers(self) -> dict[str, str]:
        headers = {**self._reply({}).headers, **faults.limits()}
        del headers["content-length"]
        return headers


def _parsed(content: bytes) -> dict[str, Any]:
    """The object in a body. Raises Refused when there is none, or one too deep to be answered."""
    try:
        body = orjson.loads(content)
        # Answers repeat parts of the body some levels deeper than they are in it, and orjson
        # writes no more than 254 levels.
        orjson.dumps([[[[[[[[body]]]]]]]])
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        raise Refused(_NOT_JSON) from None
    if not isinstance(body, dict):
        raise Refused(_NOT_JSON)
    return body


def body_of(refused: Refused) -> dict[str, str | None]:
    """An error as OpenAI writes it."""
    return {
        "message": refused.message,
        "type": refused.kind,
        "param": refused.param,
        "code": refused.code,
    }
