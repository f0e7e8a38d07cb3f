"""What a request asks of a model, so that no fallback is tried that cannot serve it.

Read from the door's own body, once, when a fallback is considered; a call that goes well never
comes here. What is not seen here the translation refuses, and the next candidate is tried.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from model_service.gateway.routes import Operation, Route

#: Bytes of text in one token, about: of English four characters, of most other scripts one to
#: two characters, which take two or three bytes each.
BYTES_PER_TOKEN: Final = 4
#: Tokens that an image takes, about: providers count from 85 to some 1,600 of them.
IMAGE_TOKENS: Final = 800

#: What a door calls an image among the parts of a message (`type`).
_IMAGES: Final = frozenset({"image_url", "input_image", "image"})
#: Where Google's door has files in a part; what they are says their type.
_FILES: Final = frozenset({"inlineData", "inline_data", "fileData", "file_data"})
#: Fields that hold bytes in base64, which are no text.
_BYTES: Final = frozenset({"data", "file_data", "url", "image_url", "signature", "id"})


@dataclass(slots=True)
class Needs:
    """What has to be there. Tokens are estimates; `output_tokens` 0: the caller did not say."""

    stream: bool = False
    tools: bool = False
    vision: bool = False
    structured_output: bool = False
    reasoning: bool = False
    embeddings: bool = False
    input_tokens: int = 0
    output_tokens: int = 0

    def capabilities(self) -> Iterable[tuple[str, str]]:
        """The names of the capabilities needed, each with what a model lacks without it."""
        for name, is_needed, words in (
            ("tools", self.tools, "does not call tools"),
            ("vision", self.vision, "does not see images"),
            ("structuredOutput", self.structured_output, "does not keep to a JSON schema"),
            ("reasoning", self.reasoning, "does not reason"),
            ("embeddings", self.embeddings, "does not embed"),
            ("streaming", self.stream, "does not stream"),
        ):
            if is_needed:
                yield name, words


def needs_of(route: Route, body: Mapping[str, Any], *, stream: bool) -> Needs:
    """The needs of a request; the body is as it came. Never raises: what is malformed is ignored.

    The walk is linear in the size of the body.
    """
    needs = Needs(stream=stream)
    if route.operation is Operation.EMBED:
        needs.embeddings = True
        return needs
    needs.tools = bool(body.get("tools") or body.get("functions"))
    match route.family:
        case "google":
            _of_google(needs, body)
        case "anthropic":
            _of_anthropic(needs, body)
        case _:
            _of_openai(needs, body)
    size, images = _measure(body)
    needs.vision = images > 0
    needs.input_tokens = size // BYTES_PER_TOKEN + images * IMAGE_TOKENS
    return needs


def _of_openai(needs: Needs, body: Mapping[str, Any]) -> None:
    form = _object(body.get("response_format")) or _object(_object(body.get("text")).get("format"))
    needs.structured_output = form.get("type") == "json_schema"
    effort = body.get("reasoning_effort") or _object(body.get("reasoning")).get("effort")
    needs.reasoning = effort not in (None, "none", "minimal")
    needs.output_tokens = _count(
        body.get("max_completion_tokens"), body.get("max_output_tokens"), body.get("max_tokens")
    )


def _of_anthropic(needs: Needs, body: Mapping[str, Any]) -> None:
    form = _object(_object(body.get("output_config")).get("format")) or _object(
        body.get("output_format")
    )
    needs.structured_output = form.get("type") == "json_schema"
    needs.reasoning = _object(body.get("thinking")).get("type") in ("enabled", "adaptive")
    needs.output_tokens = _count(body.get("max_tokens"))


def _of_google(needs: Needs, body: Mapping[str, Any]) -> None:
    # Google reads both spellings of a field (the JSON mapping of protocol buffers).
    form = _object(body.get("generationConfig") or body.get("generation_config"))
    schemas = ("responseSchema", "responseJsonSchema", "response_schema", "response_json_schema")
    needs.structured_output = any(form.get(name) for name in schemas)
    thinking = _object(form.get("thinkingConfig") or form.get("thinking_config"))
    budget = thinking.get("thinkingBudget", thinking.get("thinking_budget"))
    needs.reasoning = bool(thinking) and budget != 0
    needs.output_tokens = _count(form.get("maxOutputTokens"), form.get("max_output_tokens"))


def _measure(body: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes of text, and images, in everything that a model reads."""
    size = images = 0
    waiting: list[Any] = [
        body.get(name)
        for name in ("messages", "input", "instructions", "system", "contents", "tools")
    ]
    waiting.append(body.get("systemInstruction") or body.get("system_instruction"))
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            size += len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            images += _is_image(value)
            waiting.extend(
                item for name, item in value.items() if not (name in _BYTES and _is_bytes(item))
            )
    return size, images


def _is_image(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    if isinstance(kind, str):
        return kind in _IMAGES
    for name in _FILES:
        file = part.get(name)
        if isinstance(file, dict):
            mime = file.get("mimeType") or file.get("mime_type")
            return isinstance(mime, str) and mime.startswith("image/")
    return False


def _is_bytes(value: object) -> bool:
    """Whether it is no text: a string where bytes or an address stand, or an object of one."""
    return isinstance(value, str) or (isinstance(value, dict) and "url" in value)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(*values: object) -> int:
    """The first that is a number of tokens; 0 without one."""
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0
