"""Stand-ins of five providers, for tests and for trying the service without any account.

Each speaks its provider's wire format (routes, headers, status codes, error bodies, streams) on
a port of its own and remembers what it was asked. It refuses what the provider refuses: unknown
fields, roles in the wrong order, results without calls. No request leaves the machine.

What they say
-------------

The answer to a question is the same everywhere, and shows what arrived: `You said: ...`, the
system prompt, the number of images, the results of tools. Words in the last text of the user's
ask for more (`script` has the details, and how tokens are counted):

| words in it                  | effect                                            |
|------------------------------|---------------------------------------------------|
| the name of a tool on offer  | it is called; `name {...}` gives the arguments    |
| `use a tool`, `use the tool` | the first tool is called                          |
| `both`                       | two calls at once                                 |
| `aloud`                      | a sentence stands before the calls                |
| `count to N`                 | the numbers from 1 to N                           |
| `say nothing`                | an empty answer                                   |
| `refuse`                     | a refusal                                         |
| `cached`                     | half of the input counts as read from a cache     |

Models that misbehave
---------------------

A call of the model `fault-<word>` meets that fault; with `fault-<word>-once` the first call
alone does. What stands after a full stop or a colon is not read.

| words                                                        | what it is                     |
|--------------------------------------------------------------|--------------------------------|
| `401`, `402`, `404`, `413`, `429`, `500`, `503`, `529`       | the provider's own such error  |
| `context`, `filter`, `refused-param`                         | 400, for that reason           |
| `echo`                                                       | 400 that repeats the whole key |
| `error-200`, `html`                                          | an error as a 200; a 502 page  |
| `reset`, `silent`                                            | no answer at all               |
| `slow`, `drip`, `stall`                                      | late, in single bytes, halting |
| `cut`, `end`                                                 | over after about two thirds    |
| `malformed`, `garbage`, `huge-event`, `flood`, `error-event` | a stream that goes wrong       |
| `no-done`                                                    | sound, but without its mark    |

`faults` says of each what comes exactly.

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
