"""Taking credentials out of text that is about to be written somewhere.

Two nets: anything shaped like a provider key or one of our tokens, and every value this
process has revealed, whatever its shape. Of revealed values only keyed digests are kept.
"""

import hashlib
import os
import re
from collections import OrderedDict

MASK = "[redacted]"

# Shapes of the providers' keys and of our own tokens and secrets, as their documents show them.
_SHAPES = re.compile(
    r"""
      sk-[A-Za-z0-9_\-]{8,}                    # OpenAI, Anthropic (sk-ant-), OpenRouter (sk-or-)
    | AIza[0-9A-Za-z_\-]{20,}                  # Google
    | msk_[A-Za-z0-9_\-]{8,}                   # ours
    | whsec_[A-Za-z0-9+/=]{16,}                # ours, of webhooks
    | (?:gsk|xai|tgp|fw|hf)[_-][A-Za-z0-9_\-]{16,}  # Groq, xAI, Together, Fireworks, Hugging Face
    | (?i:bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,}
    | (?<=://)[^/\s@]+(?=@)                    # user and password of a URL
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"[^\s\"'`,;<>(){}\[\]\\|]{8,}")
_SUBWORD = re.compile(r"[^=:&?/@]{8,}")

#: How many revealed values are remembered; at 8 bytes and some overhead each, a few MB.
REMEMBERED = 65_536


class Redactor:
    """Masks credentials in text. One per process; `remember` is called by whoever reveals."""

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._revealed: OrderedDict[bytes, None] = OrderedDict()

    def remember(self, value: str) -> None:
        """Mask this value from now on. It is not kept, only a keyed digest of it."""
        digest = self._digest(value)
        self._revealed[digest] = None
        self._revealed.move_to_end(digest)
        if len(self._revealed) > REMEMBERED:
            self._revealed.popitem(last=False)

    def __call__(self, text: str) -> str:
        """The text without anything that looks like, or is known to be, a credential."""
        text = _SHAPES.sub(MASK, text)
        if self._revealed:
            text = _WORD.sub(self._mask_word, text)
        return text

    def _mask_word(self, match: re.Match[str]) -> str:
        word = match.group()
        if self._digest(word) in self._revealed:
            return MASK
        return _SUBWORD.sub(
            lambda part: MASK if self._digest(part.group()) in self._revealed else part.group(),
            word,
        )

    def _digest(self, value: str) -> bytes:
        data = value.encode(errors="surrogatepass")
        return hashlib.blake2b(data, digest_size=8, key=self._key).digest()
