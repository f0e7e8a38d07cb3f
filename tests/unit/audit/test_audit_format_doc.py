"""The documented example is what the code writes, and what documented steps alone make of it."""

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from model_service.audit import chain
from model_service.audit.domain import Entry
from model_service.audit.standalone import verify
from tests.audit_trails import CHAIN_KEY, entry

PAGE = (Path(__file__).parents[3] / "docs" / "audit-trail.md").read_text()
# As the page names them: 00 to 1f, and 20 to 3f.
AUDIT_KEY = bytes.fromhex("".join(f"{n:02x}" for n in range(32)))
PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))


def example() -> list[bytes]:
    match = re.search(r"```jsonl\n(.*?)```", PAGE, re.DOTALL)
    assert match is not None
    return match.group(1).encode().splitlines(keepends=True)


def canonical(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def test_the_example_follows_from_the_documented_steps_alone() -> None:
    *records, checkpoint = example()
    former = bytes(32)
    for seq, line in enumerate(records, start=1):
        content = json.loads(line)
        assert line == canonical(content) + b"\n"
        assert (content.pop("seq"), content.pop("prevHash")) == (seq, former.hex())
        stated = content.pop("hash")
        message = seq.to_bytes(8, "big") + former + canonical(content)
        former = hmac.new(AUDIT_KEY, message, hashlib.sha256).digest()
        assert stated == former.hex()
    signed = json.loads(checkpoint)
    document = canonical(signed["signed"])
    assert checkpoint == b'{"signed":%b,"signature":"%b"}\n' % (
        document,
        signed["signature"].encode(),
    )
    signature = PRIVATE_KEY.sign(b"model-service audit v1\n" + document)
    assert signed["signature"] == signature.hex()
    assert signed["signed"]["hash"] == former.hex()
    assert signed["signed"]["digest"] == hashlib.sha256(b"".join(records)).hexdigest()
    public = PRIVATE_KEY.public_key().public_bytes_raw()
    assert signed["signed"]["keyId"] == hashlib.sha256(public).hexdigest()[:16]


def test_the_example_passes_the_stand_alone_verifier() -> None:
    found = verify(example(), PRIVATE_KEY.public_key())
    assert (found.first_seq, found.seq, found.checkpoints) == (1, 2, 1)


def test_the_code_writes_the_example() -> None:
    first = json.loads(example()[0])
    assert AUDIT_KEY == CHAIN_KEY
    content = chain.canonical(entry(1))
    assert json.loads(content) == {
        name: value for name, value in first.items() if name not in ("seq", "prevHash", "hash")
    }


def test_the_page_names_every_field() -> None:
    fields = json.loads(example()[0]).keys()
    assert len(fields) == len(Entry._fields) + 3
    for field in fields:
        assert re.search(rf"^\|.*`{field}`.*\|", PAGE, re.MULTILINE), field
