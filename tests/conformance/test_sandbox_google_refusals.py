"""What the Google stand-in refuses, with the live API's error bodies."""

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.sandbox import serve

Json = dict[str, Any]  # Any: JSON
MODEL = "gemini-3.8-flash"
GOOD: Json = {"contents": [{"parts": [{"text": "Hi"}]}]}
UNKNOWN = "Invalid JSON payload received. Unknown name"
GENERATE = "* GenerateContentRequest"
TYPES = "type.googleapis.com/google.ai.generativelanguage"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with serve() as sandbox:
        headers = {"x-goog-api-key": sandbox.google.sample_key()}
        base_url = sandbox.google.base_url
        async with httpx.AsyncClient(base_url=base_url, headers=headers) as client:
            yield client


async def sent(
    http: httpx.AsyncClient, body: object, model: str = MODEL, method: str = "generateContent"
) -> httpx.Response:
    return await http.post(f"/v1beta/models/{model}:{method}", json=body)


async def refused(
    http: httpx.AsyncClient, body: object, model: str = MODEL, method: str = "generateContent"
) -> Json:
    answer = await sent(http, body, model, method)
    error: Json = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    return error


def part(**fields: object) -> Json:
    return {"contents": [{"parts": [fields]}]}


def configured(**config: object) -> Json:
    return {**GOOD, "generationConfig": config}


def declared(*functions: Json) -> Json:
    return {**GOOD, "tools": [{"functionDeclarations": list(functions)}]}


def taking(schema: Json) -> Json:
    return declared({"name": "f", "parameters": schema})


def holding(schema: Json) -> Json:
    return taking({"type": "object", "properties": {"a": schema}})


PARAMETERS = "tools[0].function_declarations[0].parameters"
VALUE = f"{PARAMETERS}.properties[0].value"


@pytest.mark.parametrize(
    ("body", "message", "field"),
    [
        ({**GOOD, "messages": []}, f'{UNKNOWN} "messages": Cannot find field.', None),
        (
            part(text="x", foo=1),
            f"{UNKNOWN} \"foo\" at 'contents[0].parts[0]': Cannot find field.",
            "contents[0].parts[0]",
        ),
        (
            configured(maxTokens=1),
            f"{UNKNOWN} \"maxTokens\" at 'generation_config': Cannot find field.",
            "generation_config",
        ),
        (
            configured(temperature=[1]),
            (
                f"{UNKNOWN} \"temperature\" at 'generation_config': Proto field is not repeating, "
                "cannot start list."
            ),
            "generation_config",
        ),
        (
            configured(temperature="hot"),
            "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), \"hot\"",
            "generation_config.temperature",
        ),
        (
            configured(maxOutputTokens=1.5),
            "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32), 1.5",
            "generation_config.max_output_tokens",
        ),
        (
            part(text=5),
            "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 5",
            "contents[0].parts[0].text",
        ),
        (
            part(inlineData={"mimeType": "image/png", "data": "no base64!"}),
            (
                "Invalid value at 'contents[0].parts[0].inline_data.data' (TYPE_BYTES), Base64 "
                'decoding failed for "no base64!"'
            ),
            "contents[0].parts[0].inline_data.data",
        ),
        (
            {**GOOD, "toolConfig": {"functionCallingConfig": {"mode": "REQUIRED"}}},
            (
                "Invalid value at 'tool_config.function_calling_config.mode' "
                f"({TYPES}.v1beta.FunctionCallingConfig.Mode), "
                '"REQUIRED"'
            ),
            "tool_config.function_calling_config.mode",
        ),
        (
            {"contents": "Hi"},
            (
                "Invalid value at 'contents[0]' "
                '(type.googleapis.com/google.ai.generativelanguage.v1beta.Content), "Hi"'
            ),
            "contents[0]",
        ),
        (
            part(functionCall={"name": "f", "args": "{}"}),
            (
                "Invalid value at 'contents[0].parts[0].function_call.args' "
                '(type.googleapis.com/google.protobuf.Struct), "{}"'
            ),
            "contents[0].parts[0].function_call.args",
        ),
        *(
            (
                holding({"type": "string", keyword: value}),
                f"{UNKNOWN} \"{keyword}\" at '{VALUE}': Cannot find field.",
                VALUE,
            )
            for keyword, value in {
                "additionalProperties": False,
                "$ref": "#",
                "const": 1,
                "oneOf": [],
                "exclusiveMinimum": 0,
                "patternProperties": {},
            }.items()
        ),
        (
            taking({"$schema": "https://json-schema.org/draft/2020-12/schema"}),
            f"{UNKNOWN} \"$schema\" at '{PARAMETERS}': Cannot find field.",
            PARAMETERS,
        ),
        (
            holding({"type": ["string", "null"]}),
            f"{UNKNOWN} \"type\" at '{VALUE}': Proto field is not repeating, cannot start list.",
            VALUE,
        ),
        (
            configured(
                responseMimeType="application/json",
                responseSchema={"type": "object", "additionalProperties": False},
            ),
            (
                f"{UNKNOWN} \"additionalProperties\" at 'generation_config.response_schema': "
                "Cannot find field."
            ),
            "generation_config.response_schema",
        ),
    ],
)
async def test_a_body_it_cannot_read_is_an_invalid_argument(
    http: httpx.AsyncClient, body: Json, message: str, field: str | None
) -> None:
    error = await refused(http, body)
    assert error["message"] == message
    (details,) = error["details"]
    assert details["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    violation = {"description": message, **({"field": field} if field else {})}
    assert details["fieldViolations"] == [violation]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, f"{GENERATE}.contents: contents is not specified\n"),
        ({"contents": []}, f"{GENERATE}.contents: contents is not specified\n"),
        (
            {"contents": [{"role": "user"}]},
            f"{GENERATE}.contents[0].parts: contents.parts must not be empty.\n",
        ),
        (
            part(thought=True),
            (
                f"{GENERATE}.contents[0].parts[0].data: required oneof field 'data' must have one "
                "initialized field\n"
            ),
        ),
        (
            part(text="x", functionCall={"name": "f"}),
            (
                "Invalid value at 'contents[0].parts[0]' (oneof), oneof field 'data' is already "
                "set. Cannot set 'functionCall'"
            ),
        ),
        (part(inlineData={"mimeType": "image", "data": "aGk="}), "Unsupported MIME type: image"),
        (
            part(inlineData={"data": "aGk="}),
            f"{GENERATE}.contents[0].parts[0].inline_data.mime_type: mime_type must not be empty\n",
        ),
        (
            part(functionResponse={"response": {}}),
            f"{GENERATE}.contents[0].parts[0].function_response.name: Name cannot be empty.\n",
        ),
        (
            {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]},
            "Please use a valid role: user, model.",
        ),
        (
            {"contents": [{"role": "system", "parts": [{"text": "x"}]}]},
            "Please use a valid role: user, model.",
        ),
        (
            {"contents": [{"role": "model", "parts": [{"text": "x"}]}]},
            "Requests ending with a model turn are not supported.",
        ),
        (
            configured(temperature=2.5),
            (
                f"{GENERATE}.generation_config.temperature: temperature must be in the range "
                "[0.0, 2.0].\n"
            ),
        ),
        (
            configured(topP=1.5),
            f"{GENERATE}.generation_config.top_p: top_p must be in the range [0.0, 1.0].\n",
        ),
        (
            configured(maxOutputTokens=0),
            (
                f"{GENERATE}.generation_config.max_output_tokens: max_output_tokens must be "
                "positive.\n"
            ),
        ),
        (
            configured(maxOutputTokens=70_000),
            (
                "Unable to submit request because it has a maxOutputTokens value of 70000 but the "
                "supported range is from 1 (inclusive) to 65537 (exclusive). Update the value and "
                "try again."
            ),
        ),
        (
            configured(candidateCount=9),
            (
                f"{GENERATE}.generation_config.candidate_count: candidate_count must be in the "
                "range [1, 8].\n"
            ),
        ),
        (configured(candidateCount=2), "Multiple candidates is not enabled for this model"),
        (configured(presencePenalty=0.5), "Penalty is not enabled for this model"),
        (configured(responseLogprobs=True), "Logprobs is not enabled for this model"),
        (
            configured(stopSequences=["a", "b", "c", "d", "e", "f"]),
            (
                f"{GENERATE}.generation_config.stop_sequences: at most 5 stop sequences are "
                "supported.\n"
            ),
        ),
        (
            configured(responseMimeType="json"),
            (
                f"{GENERATE}.generation_config.response_mime_type: allowed mimetypes are "
                "`text/plain`, `application/json`, `application/xml`, `application/yaml` and "
                "`text/x.enum`.\n"
            ),
        ),
        (
            configured(responseSchema={"type": "string"}),
            (
                f"{GENERATE}.generation_config.response_mime_type: a response schema needs the "
                "mimetype `application/json` or `text/x.enum`.\n"
            ),
        ),
        (
            configured(responseModalities=["AUDIO"]),
            "Model does not support the requested response modalities: text only",
        ),
        (
            configured(thinkingConfig={"thinkingLevel": "LOW", "thinkingBudget": 128}),
            "You can only set only one of thinking budget and thinking level.",
        ),
        (
            configured(thinkingConfig={"thinkingLevel": "MINIMAL"}),
            (
                "Thinking level MINIMAL is not supported for this model. Please retry with other "
                "thinking level."
            ),
        ),
        (
            configured(thinkingConfig={"thinkingBudget": 0}),
            "Budget 0 is invalid. This model only works in thinking mode.",
        ),
        (
            {**GOOD, "tools": [{}]},
            (
                f"{GENERATE}.tools[0].tool_type: required one_of 'tool_type' must have one "
                "initialized field\n"
            ),
        ),
        (
            declared({"name": "1st"}),
            (
                f"{GENERATE}.tools[0].function_declarations[0].name: [1st] Invalid function name. "
                "Must start with a letter or an underscore. Must be alphameric (a-z, A-Z, 0-9), "
                "underscores (_), dots (.), colons (:) or dashes (-), with a maximum length of "
                "128.\n"
            ),
        ),
        (
            declared({"name": "f"}, {"name": "f"}),
            "Duplicate function declaration found: f",
        ),
        (
            declared({"name": "f", "parameters": {"type": "string"}, "parametersJsonSchema": {}}),
            (
                f"{GENERATE}.tools[0].function_declarations[0]: only one of parameters and "
                "parameters_json_schema may be set\n"
            ),
        ),
        (
            {**GOOD, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
            "Function calling config is set without function_declarations.",
        ),
        (
            {
                **declared({"name": "f"}),
                "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["f"]}},
            },
            (
                "allowed_function_names should only be set when the function calling mode is ANY "
                "or VALIDATED."
            ),
        ),
        (
            taking({"type": "object"}),
            f"{GENERATE}.{PARAMETERS}.properties: should be non-empty for OBJECT type\n",
        ),
        (
            holding({"type": "array"}),
            f'{GENERATE}.{PARAMETERS}.properties["a"].items: missing field.\n',
        ),
        (
            holding({"type": "integer", "enum": ["1"]}),
            f'{GENERATE}.{PARAMETERS}.properties["a"].enum: only allowed for STRING type\n',
        ),
        (
            holding({"type": "string", "format": "uuid"}),
            (
                f"{GENERATE}.{PARAMETERS}.properties[\"a\"].format: only 'enum' and 'date-time' "
                "are supported for STRING type\n"
            ),
        ),
        (
            holding({"description": "anything"}),
            f'{GENERATE}.{PARAMETERS}.properties["a"].type: must be specified\n',
        ),
        (
            taking({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]}),
            f"{GENERATE}.{PARAMETERS}.required[0]: property is not defined\n",
        ),
    ],
)
async def test_a_request_with_a_fault_is_refused(
    http: httpx.AsyncClient, body: Json, message: str
) -> None:
    error = await refused(http, body)
    assert (error["message"], "details" in error) == (message, False)


@pytest.mark.parametrize(
    "body",
    [
        {"contents": [{"role": "user", "parts": [{"text": "a"}]}] * 2},
        {
            "contents": [
                {"role": "model", "parts": [{"text": "a"}]},
                {"parts": [{"text": "b"}]},
            ]
        },
        {**GOOD, "toolConfig": {"functionCallingConfig": {"mode": "none"}}},
        declared({"name": "a:b.c-d", "parametersJsonSchema": {"$ref": "#", "oneOf": []}}),
        holding({"anyOf": [{"type": "STRING"}, {"type": "null"}], "nullable": True}),
        configured(stopSequences=None, thinkingConfig={"thinkingLevel": "high"}),
    ],
)
async def test_what_the_live_api_takes_is_taken(http: httpx.AsyncClient, body: Json) -> None:
    assert (await sent(http, body)).status_code == 200


async def test_earlier_models_take_the_beginning_of_an_answer(http: httpx.AsyncClient) -> None:
    body = {"contents": [*GOOD["contents"], {"role": "model", "parts": [{"text": "x"}]}]}
    assert (await sent(http, body, "gemini-3.5-flash-lite")).status_code == 200


async def after_calls(http: httpx.AsyncClient, text: str, model: str = MODEL) -> Json:
    """A conversation that goes on after the calls that a text asks for."""
    body = declared({"name": "f"}, {"name": "g"})
    body["contents"] = [{"role": "user", "parts": [{"text": text}]}]
    answer = (await sent(http, body, model)).json()
    content = answer["candidates"][0]["content"]
    results = [
        {"functionResponse": {**each["functionCall"], "response": {"output": "x"}}}
        for each in content["parts"]
    ]
    for result in results:
        del result["functionResponse"]["args"]
    body["contents"] += [content, {"role": "user", "parts": results}]
    return body


def no_signature(body: Json) -> None:
    del body["contents"][1]["parts"][0]["thoughtSignature"]


def foreign_signature(body: Json) -> None:
    foreign = base64.b64encode(b"of somebody else's making, whoever that may be").decode()
    body["contents"][1]["parts"][0]["thoughtSignature"] = foreign


def swapped_signature(body: Json) -> None:
    first, second = body["contents"][1]["parts"]
    second["thoughtSignature"] = first["thoughtSignature"]


def one_result_less(body: Json) -> None:
    del body["contents"][2]["parts"][0]


def results_in_two_turns(body: Json) -> None:
    first, second = body["contents"].pop()["parts"]
    body["contents"] += [{"parts": [first]}, {"parts": [second]}]


def other_name(body: Json) -> None:
    body["contents"][2]["parts"][0]["functionResponse"]["name"] = "h"


def other_id(body: Json) -> None:
    body["contents"][2]["parts"][0]["functionResponse"]["id"] = "other"


def no_result(body: Json) -> None:
    body["contents"][2]["parts"] = [{"text": "So?"}]


def no_call(body: Json) -> None:
    del body["contents"][1]


def call_after_text(body: Json) -> None:
    body["contents"].insert(1, {"role": "model", "parts": [{"text": "Let me see."}]})


def call_first(body: Json) -> None:
    del body["contents"][0]


COUNT = "Please ensure that the number of function response parts is equal to the number of"
BEFORE = "Please ensure that function call turn comes immediately after a user turn or after a"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            no_signature,
            (
                "Function call is missing a thought_signature in functionCall parts. This is "
                "required for tools to work correctly, and missing thought_signature may lead to "
                "degraded model performance. Additional data, function call `default_api:f` , "
                "position 2. "
            ),
        ),
        (foreign_signature, "Corrupted thought signature."),
        (swapped_signature, "Corrupted thought signature."),
        (one_result_less, COUNT),
        (results_in_two_turns, COUNT),
        (no_result, COUNT),
        (other_name, "Please ensure that the name of each function response part is that of a"),
        (other_id, "Function response id does not match any pending function call."),
        (no_call, "Please ensure that function response turn comes immediately after a function"),
        (call_after_text, BEFORE),
        (call_first, BEFORE),
    ],
)
async def test_calls_that_come_back_otherwise_are_refused(
    http: httpx.AsyncClient, change: Callable[[Json], None], message: str
) -> None:
    body = await after_calls(http, "use both")
    assert (await sent(http, body)).status_code == 200
    change(body)
    assert (await refused(http, body))["message"].startswith(message)


def stand_in_value(body: Json) -> None:
    body["contents"][1]["parts"][0]["thoughtSignature"] = "context_engineering_is_the_way_to_go"


def stand_in_value_as_bytes(body: Json) -> None:
    value = base64.b64encode(b"skip_thought_signature_validator").decode()
    body["contents"][1]["parts"][0]["thoughtSignature"] = value


def in_an_earlier_turn(body: Json) -> None:
    no_signature(body)
    body["contents"] += [
        {"role": "model", "parts": [{"text": "It is x."}]},
        {"role": "user", "parts": [{"text": "Thanks"}]},
    ]


def without_ids(body: Json) -> None:
    for content in body["contents"]:
        for each in content["parts"]:
            for name in ("functionCall", "functionResponse"):
                if name in each:
                    del each[name]["id"]


@pytest.mark.parametrize(
    "change", [stand_in_value, stand_in_value_as_bytes, in_an_earlier_turn, without_ids]
)
async def test_calls_of_others_and_of_earlier_turns_are_let_through(
    http: httpx.AsyncClient, change: Callable[[Json], None]
) -> None:
    body = await after_calls(http, "use both")
    change(body)
    assert (await sent(http, body)).status_code == 200


async def test_every_step_of_the_current_turn_wants_its_signature(
    http: httpx.AsyncClient,
) -> None:
    body = await after_calls(http, "use f")
    more = await after_calls(http, "use f")
    body["contents"] += more["contents"][1:]
    assert (await sent(http, body)).status_code == 200
    del body["contents"][3]["parts"][0]["thoughtSignature"]
    assert "position 4" in (await refused(http, body))["message"]


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("gemini-0", "generateContent"),
        ("gemini-embedding-2", "generateContent"),
        (MODEL, "embedContent"),
        ("gemini-0", "countTokens"),
    ],
)
async def test_a_model_without_the_method_is_not_found(
    http: httpx.AsyncClient, model: str, method: str
) -> None:
    answer = await sent(http, GOOD, model, method)
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (404, "NOT_FOUND")
    assert error["message"] == (
        f"models/{model} is not found for API version v1beta, or is not supported for {method}. "
        "Call ModelService.ListModels to see the list of available models and their supported "
        "methods."
    )


async def test_an_unknown_method_is_an_html_page(http: httpx.AsyncClient) -> None:
    answer = await sent(http, GOOD, method="generateText")
    assert (answer.status_code, answer.headers["content-type"][:9]) == (404, "text/html")


@pytest.mark.parametrize(
    ("method", "body", "message"),
    [
        ("embedContent", {}, "* EmbedContentRequest.content: contents is not specified\n"),
        (
            "embedContent",
            {"content": {"parts": [{"text": "x"}]}, "outputDimensionality": 4000},
            (
                "* EmbedContentRequest.output_dimensionality: output_dimensionality must be in the "
                "range [1, 3072].\n"
            ),
        ),
        (
            "embedContent",
            {"content": {"parts": [{"text": "x"}]}, "taskType": "SEARCH"},
            (
                "Invalid value at 'task_type' "
                '(type.googleapis.com/google.ai.generativelanguage.v1beta.TaskType), "SEARCH"'
            ),
        ),
        (
            "embedContent",
            {"content": {"parts": [{"text": "x"}]}, "title": "T"},
            (
                "* EmbedContentRequest.title: title may only be set for the task type "
                "RETRIEVAL_DOCUMENT.\n"
            ),
        ),
        (
            "batchEmbedContents",
            {"requests": [{"content": {"parts": [{"text": "x"}]}}]},
            "* BatchEmbedContentsRequest.requests[0].model: model is not specified\n",
        ),
        (
            "batchEmbedContents",
            {"requests": [{"model": "models/x", "content": {"parts": [{"text": "x"}]}}]},
            "* EmbedContentRequest.model: unexpected model name models/x\n",
        ),
        (
            "batchEmbedContents",
            {"requests": []},
            "* BatchEmbedContentsRequest.requests: requests is not specified\n",
        ),
        (
            "countTokens",
            {"contents": []},
            f"{GENERATE}.contents: contents is not specified\n",
        ),
    ],
)
async def test_embeddings_and_counts_with_a_fault_are_refused(
    http: httpx.AsyncClient, method: str, body: Json, message: str
) -> None:
    model = MODEL if method == "countTokens" else "gemini-embedding-2"
    assert (await refused(http, body, model, method))["message"] == message


async def test_a_refusal_of_what_was_to_be_an_array_is_one(http: httpx.AsyncClient) -> None:
    answer = await sent(http, {}, method="streamGenerateContent")
    assert answer.status_code == 400
    assert answer.json()[0]["error"]["status"] == "INVALID_ARGUMENT"
    events = await sent(http, {}, method="streamGenerateContent?alt=sse")
    assert events.json()["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_parameter_of_the_url_that_there_is_not_is_refused(
    http: httpx.AsyncClient,
) -> None:
    answer = await sent(http, GOOD, method="generateContent?stream=1")
    assert answer.json()["error"]["message"].startswith(f'{UNKNOWN} "stream": Cannot bind query')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"contents":[[]]}',
        b'{"contents":[{"parts":[null]}]}',
        b'{"contents":[{"parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[{"name":"f",'
        b'"parameters":' + b'{"type":"array","items":' * 200 + b"{}" + b"}" * 200 + b"}]}]}",
    ],
)
async def test_a_body_of_any_other_shape_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post(f"/v1beta/models/{MODEL}:generateContent", content=body)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("key", ["system_instruction", "systemInstruction"])
async def test_either_spelling_is_known(http: httpx.AsyncClient, key: str) -> None:
    body: Mapping[str, object] = {**GOOD, key: {"parts": [{"text": "x"}]}}
    assert (await sent(http, body)).status_code == 200
