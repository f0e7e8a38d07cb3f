"""Stand-ins of five providers, for tests and for trying the service without any account.

Each speaks its provider's wire format (routes, headers, status codes, error bodies) on a
port of its own and remembers what it was asked. No request leaves the machine.

Keys
----

A stand-in takes a key that starts with `sk-sandbox-`, whichever provider it plays, and
beside that one in its provider's own style:

| provider          | own style                                         |
|-------------------|---------------------------------------------------|
| OPENAI, AZURE     | `sk-sandbox-...`                                  |
| ANTHROPIC         | `sk-ant-sandbox-...`                              |
| GOOGLE            | `AIzaSandbox...`, 39 characters as the real ones  |
| OLLAMA            | no key at all                                     |

Every other key is refused with the provider's real error. The word after the prefix makes
the stand-in misbehave, as in `sk-sandbox-limited-1` or `sk-ant-sandbox-limited-1`:

| word         | OPENAI | ANTHROPIC | GOOGLE | AZURE | OLLAMA | what it is                         |
|--------------|--------|-----------|--------|-------|--------|------------------------------------|
| `restricted` | 403    | 403       | 403    | 403   | 403    | a real key without this permission |
| `limited`    | 429    | 429       | 429    | 429   | 429    | too many requests; `Retry-After`   |
| `broken`     | 500    | 529       | 503    | 500   | 500    | the provider's own kind of failure |
| `silent`     | never  | never     | never  | never | never  | holds the connection until it ends |
| `html`       | 502    | 502       | 502    | 502   | 502    | an HTML page from a proxy between  |
| `echo`       | 401    | 401       | 400    | 401   | 401    | an error that repeats the key      |
| `redirect`   | 302    | 302       | 302    | 302   | 302    | to http://169.254.169.254/         |

Ollama has no keys; there, and wherever a test wants it for any key, the same is had by
`stand_in.always = Behaviour.SILENT`. `stand_in.down = True` answers everything with 503.
`stand_in.sample_key(Behaviour.LIMITED)` gives a well-formed key.
"""

from model_service.sandbox.keys import Behaviour
from model_service.sandbox.server import DEFAULT_BASE_PORT, Sandbox, run, serve
from model_service.sandbox.stand_in import Received, StandIn

__all__ = ["DEFAULT_BASE_PORT", "Behaviour", "Received", "Sandbox", "StandIn", "run", "serve"]
