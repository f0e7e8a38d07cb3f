"""The prompt cache: prefixes that came before.

After https://developers.openai.com/api/docs/guides/prompt-caching: prompts of 1024 tokens and
more are cached, in steps of 128.
"""

import hashlib
from collections import OrderedDict
from typing import Final

from model_service.sandbox.script import fragments

_LEAST: Final = 1024
_STEP: Final = 128

# Old prefixes fall out, so that a sandbox left running does not grow.
_KEPT: Final = 10_000


class PromptCache:
    """The prefixes that one stand-in has seen, by model."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def use(self, model: str, prompt: str) -> tuple[int, int]:
        """How many tokens of a prompt are read from the cache, and how many written to it."""
        tokens = fragments(prompt)
        digest = hashlib.sha256(model.encode("utf-8", "surrogatepass"))
        cached = written = 0
        for start in range(0, len(tokens) - len(tokens) % _STEP, _STEP):
            block = "".join(tokens[start : start + _STEP])
            digest.update(block.encode("utf-8", "surrogatepass"))
            end = start + _STEP
            if end < _LEAST:
                continue
            prefix = digest.digest()
            if prefix in self._seen:
                cached = end
            else:
                written = end - cached
                self._remember(prefix)
        return cached, written

    def clear(self) -> None:
        """Forget everything."""
        self._seen.clear()

    def _remember(self, prefix: bytes) -> None:
        self._seen[prefix] = None
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
