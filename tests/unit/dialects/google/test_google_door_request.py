"""What is read of a request at Google's door."""

import base64
from typing import Any

import pytest
from google.genai import Client, _common, models, types
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.chat import (
    ChatRequest,
    Choice,
    Effort,
    Media,
    Message,
    OutputFormat,
    Reasoning,
    ReasoningRequest,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from model_service.providers.dialects.google.door import GoogleDoor
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.signatures import mark

from .wire import NAME, assistant, fault_of, user

HELLO: dict[str, Any] = {"role": "user", "parts": [{"text": "Hello"}]}


def read(body: dict[str, Any], *, stream: bool = False) -> ChatRequest:
    return GoogleDoor().read(body, NAME, stream=stream)


def asked(**fields: Any) -> ChatRequest:
    return read({"contents": [HELLO], **fields})


def configured(**config: Any) -> ChatRequest:
    return asked(generationConfig=config)


def turns(*contents: dict[str, Any]) -> list[Message]:
    return read({"contents": list(contents)}).messages


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def call(name: str, **fields: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": {}, **fields}}


def result(name: str, response: Any = None, **fields: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": response or {}, **fields}}


def refusal(body: dict[str, Any]) -> tuple[FaultKind, str | None]:
    with pytest.raises(CallFailed) as raised:
        read(body)
    return raised.value.fault.kind, raised.value.fault.param


def test_turns_become_messages() -> None:
    contents = [HELLO, model({"text": "Hi!"}), said({"text": "And?"})]
    assert turns(*contents) == [user("Hello"), assistant("Hi!"), user("And?")]


def test_a_turn_without_a_role_is_the_users() -> None:
    assert turns({"parts": [{"text": "Hello"}]}) == [user("Hello")]


def test_one_object_may_stand_for_a_list() -> None:
    body = {"contents": {"parts": {"text": "Hello"}}}
    assert read(body).messages == [user("Hello")]


def test_the_model_and_the_wish_for_a_stream_come_from_the_path() -> None:
    request = read({"contents": [HELLO], "model": "models/other"}, stream=True)
    assert (request.model, request.stream) == (NAME, True)


@pytest.mark.parametrize("name", ["systemInstruction", "system_instruction"])
def test_a_system_instruction_has_texts(name: str) -> None:
    request = asked(**{name: {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]}})
    assert request.system == [Text("Be brief."), Text("Be kind.")]


def test_a_system_instruction_of_anything_but_text_is_refused() -> None:
    inline = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    kind, param = refusal({"contents": [HELLO], "systemInstruction": {"parts": [inline]}})
    assert (kind, param) == (FaultKind.INVALID_REQUEST, "systemInstruction.parts[0].text")


def test_an_image_is_media_with_standard_base64() -> None:
    part = {"inline_data": {"mime_type": "image/png", "data": "-_-_", "display_name": "a.png"}}
    assert turns(said(part)) == [user(Media("image", "image/png", data="+/+/", name="a.png"))]


def test_a_missing_padding_is_put_back() -> None:
    part = {"inlineData": {"mimeType": "audio/wav", "data": "QQ"}}
    assert turns(said(part)) == [user(Media("audio", "audio/wav", data="QQ=="))]


def test_a_document_is_a_file() -> None:
    part = {"inlineData": {"mimeType": "application/pdf", "data": "QUJD"}}
    assert turns(said(part)) == [user(Media("file", "application/pdf", data="QUJD"))]


def test_a_public_file_is_a_url() -> None:
    part = {"fileData": {"fileUri": "https://files.test/a.png"}}
    assert turns(said(part)) == [user(Media("image", "image/png", url="https://files.test/a.png"))]


@pytest.mark.parametrize(
    "uri",
    ["https://generativelanguage.googleapis.com/v1beta/files/abc", "gs://bucket/a.png",
     "files/abc"],
)  # fmt: skip
def test_a_file_that_google_keeps_is_refused(uri: str) -> None:
    part = {"fileData": {"fileUri": uri, "mimeType": "image/png"}}
    assert refusal({"contents": [said(part)]}) == (
        FaultKind.UNSUPPORTED,
        "contents[0].parts[0].fileData",
    )


def test_video_is_refused() -> None:
    part = {"inlineData": {"mimeType": "video/mp4", "data": "QUJD"}}
    assert refusal({"contents": [said(part)]})[0] is FaultKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("level", "detail"),
    [("MEDIA_RESOLUTION_LOW", "low"), ("MEDIA_RESOLUTION_MEDIUM", "auto"),
     ("MEDIA_RESOLUTION_HIGH", "high"), ("MEDIA_RESOLUTION_ULTRA_HIGH", "high")],
)  # fmt: skip
def test_a_resolution_is_the_detail_of_an_image(level: str, detail: str) -> None:
    inline = {"mimeType": "image/png", "data": "QUJD"}
    part = {"inlineData": inline, "mediaResolution": {"level": level}}
    assert turns(said(part)) == [user(Media("image", "image/png", data="QUJD", detail=detail))]


def test_the_resolution_of_the_request_is_for_images_without_their_own() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    config = {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    request = read({"contents": [said(part)], "generationConfig": config})
    assert request.messages == [user(Media("image", "image/png", data="QUJD", detail="low"))]


def test_calls_and_results_meet_by_their_ids() -> None:
    contents = [
        HELLO,
        model(call("look", id="b"), call("look", id="a")),
        said(result("look", {"x": 1}, id="a"), result("look", {"x": 2}, id="b")),
    ]
    assert turns(*contents)[1:] == [
        assistant(ToolCall("b", "look", "{}"), ToolCall("a", "look", "{}")),
        user(
            ToolResult("a", [Text('{"x":1}')], "look"),
            ToolResult("b", [Text('{"x":2}')], "look"),
        ),
    ]


def test_without_ids_they_meet_by_name_in_order() -> None:
    contents = [
        HELLO,
        model(call("look"), call("find"), call("look")),
        {"role": "function", "parts": [result("find"), result("look"), result("look")]},
    ]
    messages = turns(*contents)
    assert messages[1].parts == [
        ToolCall("call_1", "look", "{}"),
        ToolCall("call_2", "find", "{}"),
        ToolCall("call_3", "look", "{}"),
    ]
    assert messages[2].parts == [
        ToolResult("call_2", [], "find"),
        ToolResult("call_1", [], "look"),
        ToolResult("call_3", [], "look"),
    ]


def test_made_ids_are_the_same_each_time_and_nobody_elses() -> None:
    contents = [HELLO, model(call("a", id="call_1"), call("b"))]
    ids = [part.id for part in turns(*contents)[1].parts if isinstance(part, ToolCall)]
    again = [part.id for part in turns(*contents)[1].parts if isinstance(part, ToolCall)]
    assert ids == again == ["call_1", "call_2"]


def test_a_result_of_no_call_is_refused() -> None:
    body = {"contents": [HELLO, said(result("look"))]}
    assert refusal(body) == (FaultKind.INVALID_REQUEST, "contents[1].parts[0].functionResponse")


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        ({"result": "sunny"}, "sunny", False),
        ({"output": "sunny"}, "sunny", False),
        ({"result": {"sky": "blue"}}, '{"sky":"blue"}', False),
        ({"error": "no such city"}, "no such city", True),
        ({"error": {"code": 5}}, '{"code":5}', True),
        ({"error": None, "sky": "blue"}, '{"error":null,"sky":"blue"}', False),
        ({"sky": "blue", "wind": 3}, '{"sky":"blue","wind":3}', False),
    ],
)
def test_a_response_is_read_as_functions_give_it(
    response: dict[str, Any], text: str, is_error: bool
) -> None:
    contents = [HELLO, model(call("look")), said(result("look", response))]
    assert turns(*contents)[2].parts == [ToolResult("call_1", [Text(text)], "look", is_error)]


def test_a_response_may_hold_images() -> None:
    parts = [{"inlineData": {"mimeType": "image/png", "data": "QUJD"}}]
    contents = [HELLO, model(call("look")), said(result("look", {"result": "ok"}, parts=parts))]
    assert turns(*contents)[2].parts == [
        ToolResult("call_1", [Text("ok"), Media("image", "image/png", data="QUJD")], "look")
    ]


def test_the_arguments_of_a_call_are_json_text() -> None:
    part = {"functionCall": {"name": "look", "args": {"city_name": "Zürich", "n": [1, 2]}}}
    assert turns(HELLO, model(part))[1].parts == [
        ToolCall("call_1", "look", '{"city_name":"Zürich","n":[1,2]}')
    ]


def test_the_pieces_of_a_streamed_answer_are_one_message() -> None:
    contents = [
        HELLO,
        model({"text": "They ", "thought": True}),
        model({"text": "greet.", "thought": True}),
        model({"text": "", "thought": True, "thoughtSignature": "c2ln"}),
        model({"text": "Good "}),
        model({"text": "day"}),
        model({"text": "", "thoughtSignature": "dGV4dA=="}),
    ]
    assert turns(*contents)[1:] == [
        assistant(
            Reasoning("They greet.", mark("google", "c2ln")),
            "Good day",
            Reasoning("", mark("google", "dGV4dA=="), redacted=True),
        )
    ]


def test_a_signature_of_another_provider_is_taken_out_of_its_base64() -> None:
    marked = mark("anthropic", "EqQBCkYI/+x=")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = encode(marked.encode()).decode()
        part = {"text": "Hm", "thought": True, "thoughtSignature": shown}
        assert turns(HELLO, model(part))[1:] == [assistant(Reasoning("Hm", marked))]


def test_a_call_keeps_its_signature() -> None:
    part = {**call("look"), "thought_signature": "c2ln"}
    assert turns(HELLO, model(part))[1].parts == [
        ToolCall("call_1", "look", "{}", mark("google", "c2ln"))
    ]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"executableCode": {"code": "1"}}, "executableCode"),
        ({"codeExecutionResult": {"outcome": "OK"}}, "codeExecutionResult"),
        ({"toolCall": {"id": "1"}}, "toolCall"),
        ({"tool_response": {"id": "1"}}, "toolResponse"),
        ({"text": "x", "videoMetadata": {"fps": 1}}, "videoMetadata"),
        ({"text": "x", "unheardOf": 1}, "unheardOf"),
    ],
)
def test_a_part_that_nobody_else_has_is_refused_by_name(part: dict[str, Any], field: str) -> None:
    body = {"contents": [HELLO, model(part)]}
    assert refusal(body) == (FaultKind.UNSUPPORTED, f"contents[1].parts[0].{field}")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": 5}, "contents"),
        ({"contents": [5]}, "contents[0]"),
        ({"contents": [{"role": "user"}]}, "contents[0].parts"),
        ({"contents": [{"role": "king", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [said({"text": 5})]}, "contents[0].parts[0].text"),
        ({"contents": [said({})]}, "contents[0].parts[0].text"),
        ({"contents": [said({"text": "x", "thought": True})]}, "contents[0].parts[0].thought"),
        ({"contents": [model({"functionCall": 5})]}, "contents[0].parts[0].functionCall"),
        ({"contents": [model(call("x", args=5))]}, "contents[0].parts[0].functionCall.args"),
        ({"contents": [HELLO], "generationConfig": 5}, "generationConfig"),
        ({"contents": [HELLO], "top_p": None, "topP": None, "tools": 5}, "tools"),
    ],
)
def test_what_is_malformed_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    assert refusal(body) == (FaultKind.INVALID_REQUEST, field)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"responseSchema": {}, "responseJsonSchema": {}}, "responseSchema"),
        ({"responseSchema": {}}, "responseMimeType"),
        ({"_responseJsonSchema": {}}, "responseMimeType"),
        ({"thinkingConfig": {"thinkingLevel": "DEEP"}}, "thinkingConfig.thinkingLevel"),
        ({"mediaResolution": "HUGE"}, "mediaResolution"),
        ({"maxOutputTokens": 0}, "maxOutputTokens"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_a_configuration_that_is_none_is_refused_by_name(
    config: dict[str, Any], field: str
) -> None:
    body = {"contents": [HELLO], "generationConfig": config}
    assert refusal(body) == (FaultKind.INVALID_REQUEST, f"generationConfig.{field}")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"serviceTier": "fast"}, "serviceTier"),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        (
            {
                "tools": {
                    "functionDeclarations": {
                        "name": "x",
                        "parameters": {},
                        "parametersJsonSchema": {},
                    }
                }
            },
            "tools.functionDeclarations.parameters",
        ),
    ],
)
def test_a_word_that_is_none_is_refused_by_name(fields: dict[str, Any], name: str) -> None:
    assert refusal({"contents": [HELLO], **fields}) == (FaultKind.INVALID_REQUEST, name)


def test_functions_that_do_not_block_are_refused() -> None:
    declaration = {"name": "x", "behavior": "NON_BLOCKING"}
    body = {"contents": [HELLO], "tools": [{"functionDeclarations": [declaration]}]}
    assert refusal(body) == (
        FaultKind.UNSUPPORTED,
        "tools[0].functionDeclarations[0].behavior",
    )


def test_a_tool_config_without_a_wish_is_none() -> None:
    assert asked(toolConfig={}).tool_choice is None


def test_a_resolution_without_a_word_is_none() -> None:
    inline = {"mimeType": "image/png", "data": "QUJD"}
    part = {"inlineData": inline, "mediaResolution": "MEDIA_RESOLUTION_UNSPECIFIED"}
    assert turns(said(part)) == [user(Media("image", "image/png", data="QUJD"))]


def test_a_response_holds_nothing_but_files_and_images() -> None:
    parts = [{"text": "x"}]
    body = {"contents": [HELLO, model(call("look")), said(result("look", parts=parts))]}
    assert refusal(body) == (
        FaultKind.UNSUPPORTED,
        "contents[2].parts[0].functionResponse.parts[0].text",
    )


def test_an_empty_part_of_a_response_is_refused() -> None:
    body = {"contents": [HELLO, model(call("look")), said(result("look", parts=[{}]))]}
    assert refusal(body)[0] is FaultKind.INVALID_REQUEST


def test_a_signature_that_only_begins_like_a_mark_is_googles() -> None:
    begins = base64.b64encode(b"model-servic\xff\xfe\xfd").decode()
    part = {"text": "Hm", "thought": True, "thoughtSignature": begins}
    assert turns(HELLO, model(part))[1:] == [assistant(Reasoning("Hm", mark("google", begins)))]


def test_a_field_in_both_spellings_is_refused() -> None:
    body = {"contents": [HELLO], "toolConfig": {}, "tool_config": {}}
    assert refusal(body) == (FaultKind.INVALID_REQUEST, "toolConfig")


def test_sampling_is_read_in_either_spelling() -> None:
    camel = configured(
        temperature=0.5, topP=0.9, topK=40, maxOutputTokens=100, stopSequences=["END"], seed=7,
        candidateCount=2, presencePenalty=0.5, frequencyPenalty=-0.5, responseLogprobs=True,
        logprobs=3,
    )  # fmt: skip
    snake = configured(
        temperature=0.5, top_p=0.9, top_k=40, max_output_tokens=100, stop_sequences=["END"],
        seed=7, candidate_count=2, presence_penalty=0.5, frequency_penalty=-0.5,
        response_logprobs=True, logprobs=3,
    )  # fmt: skip
    assert camel == snake
    assert camel == ChatRequest(
        NAME, [user("Hello")], temperature=0.5, top_p=0.9, top_k=40, max_tokens=100,
        stop=["END"], seed=7, n=2, presence_penalty=0.5, frequency_penalty=-0.5, logprobs=True,
        top_logprobs=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, None),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None),
        ({"thinkingLevel": "low"}, ReasoningRequest(Effort.LOW)),
        ({"thinking_level": "XHIGH"}, ReasoningRequest(Effort.XHIGH)),
        ({"thinkingBudget": 0}, ReasoningRequest(Effort.NONE)),
        ({"thinkingBudget": -1}, ReasoningRequest(adaptive=True)),
        (
            {"thinkingBudget": 2048, "includeThoughts": True},
            ReasoningRequest(budget=2048, visible=True),
        ),
        ({"includeThoughts": True}, ReasoningRequest(visible=True)),
    ],
)
def test_thinking_is_read(config: dict[str, Any], wanted: ReasoningRequest | None) -> None:
    assert configured(thinkingConfig=config).reasoning == wanted


def test_level_and_budget_exclude_one_another() -> None:
    thinking = {"thinkingLevel": "LOW", "thinkingBudget": 5}
    body = {"contents": [HELLO], "generationConfig": {"thinkingConfig": thinking}}
    assert refusal(body) == (
        FaultKind.INVALID_REQUEST,
        "generationConfig.thinkingConfig.thinkingBudget",
    )


def test_an_answer_in_json_may_have_a_schema_of_either_kind() -> None:
    schema = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER", "nullable": True}}}
    wanted = {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}}
    json = "application/json"
    assert configured(responseMimeType=json).output == OutputFormat()
    assert configured(responseMimeType=json, responseSchema=schema).output == OutputFormat(wanted)
    assert configured(responseMimeType=json, responseJsonSchema=wanted).output == OutputFormat(
        wanted
    )
    assert configured(responseMimeType="text/plain").output is None


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"responseMimeType": "text/x.enum"}, "responseMimeType"),
        ({"responseModalities": ["TEXT", "IMAGE"]}, "responseModalities"),
        ({"speechConfig": {"voice": "x"}}, "speechConfig"),
        ({"imageConfig": {"aspectRatio": "1:1"}}, "imageConfig"),
        ({"enableEnhancedCivicAnswers": True}, "enableEnhancedCivicAnswers"),
        ({"routingConfig": {"x": 1}}, "routingConfig"),
    ],
)
def test_what_only_google_can_give_is_refused(config: dict[str, Any], field: str) -> None:
    body = {"contents": [HELLO], "generationConfig": config}
    assert refusal(body) == (FaultKind.UNSUPPORTED, f"generationConfig.{field}")


def test_what_changes_nothing_is_accepted() -> None:
    request = configured(
        responseModalities=["TEXT"], enableEnhancedCivicAnswers=False, candidateCount=1
    )
    assert request.n == 1


def test_functions_are_tools_with_schemas_of_either_kind() -> None:
    schema = {"type": "OBJECT", "properties": {"q": {"type": "STRING"}}, "required": ["q"]}
    wanted = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    request = asked(
        tools=[
            {"functionDeclarations": [{"name": "a", "description": "A", "parameters": schema}]},
            {
                "function_declarations": [
                    {"name": "b", "parameters_json_schema": wanted, "behavior": "BLOCKING"},
                    {"name": "c"},
                ]
            },
        ]
    )
    assert request.tools == [Tool("a", "A", wanted), Tool("b", None, wanted), Tool("c")]


@pytest.mark.parametrize(
    "name",
    ["googleSearch", "googleSearchRetrieval", "googleMaps", "codeExecution", "urlContext",
     "fileSearch", "computerUse", "mcpServers"],
)  # fmt: skip
def test_built_in_tools_are_refused_by_name(name: str) -> None:
    body = {"contents": [HELLO], "tools": [{name: {}}]}
    assert refusal(body) == (FaultKind.UNSUPPORTED, f"tools[0].{name}")


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"mode": "AUTO"}, ToolChoice(Choice.AUTO)),
        ({"mode": "any"}, ToolChoice(Choice.REQUIRED)),
        ({"mode": "NONE"}, ToolChoice(Choice.NONE)),
        ({"mode": "VALIDATED"}, ToolChoice(Choice.AUTO)),
        ({"mode": "MODE_UNSPECIFIED"}, None),
        ({"mode": "ANY", "allowedFunctionNames": ["a"]}, ToolChoice(Choice.NAMED, "a")),
        (
            {"mode": "ANY", "allowed_function_names": ["a", "b"]},
            ToolChoice(Choice.REQUIRED, allowed=["a", "b"]),
        ),
    ],
)
def test_which_functions_are_called_is_read(
    config: dict[str, Any], wanted: ToolChoice | None
) -> None:
    assert asked(toolConfig={"functionCallingConfig": config}).tool_choice == wanted


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"retrievalConfig": {"x": 1}}, "retrievalConfig"),
        ({"includeServerSideToolInvocations": True}, "includeServerSideToolInvocations"),
        (
            {"functionCallingConfig": {"streamFunctionCallArguments": True}},
            "functionCallingConfig.streamFunctionCallArguments",
        ),
    ],
)
def test_wishes_about_built_in_tools_are_refused(config: dict[str, Any], field: str) -> None:
    body = {"contents": [HELLO], "toolConfig": config}
    assert refusal(body) == (FaultKind.UNSUPPORTED, f"toolConfig.{field}")


def test_settings_that_ask_for_no_filter_are_accepted() -> None:
    settings = [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
        {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"},
    ]
    assert asked(safetySettings=settings) == asked()


def test_settings_that_ask_for_a_filter_are_refused() -> None:
    setting = {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}
    body = {"contents": [HELLO], "safety_settings": [setting]}
    assert refusal(body) == (FaultKind.UNSUPPORTED, "safetySettings[0].threshold")


@pytest.mark.parametrize(
    ("tier", "wanted"),
    [("standard", "default"), ("FLEX", "flex"), ("SERVICE_TIER_PRIORITY", "priority"),
     ("unspecified", None)],
)  # fmt: skip
def test_the_tier_is_in_openais_words(tier: str, wanted: str | None) -> None:
    assert asked(serviceTier=tier).service_tier == wanted


def test_labels_are_metadata() -> None:
    assert asked(labels={"team": "red_one"}).metadata == {"team": "red_one"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("cachedContent", "cachedContents/abc"), ("continuationToken", "AA=="), ("store", True),
     ("unheardOf", 1)],
)  # fmt: skip
def test_what_no_other_provider_keeps_is_refused(field: str, value: Any) -> None:
    assert refusal({"contents": [HELLO], field: value}) == (FaultKind.UNSUPPORTED, field)


def test_a_count_may_wrap_the_whole_request() -> None:
    wrapped = {"model": "models/x", "contents": [HELLO], "tools": []}
    assert read({"generateContentRequest": wrapped}) == asked()


def test_what_stands_wrapped_and_bare_is_refused() -> None:
    body = {"contents": [HELLO], "generate_content_request": {"contents": [HELLO]}}
    assert refusal(body) == (FaultKind.INVALID_REQUEST, "contents")


def test_every_spelling_is_of_a_field_of_the_request() -> None:
    fields = ChatRequest.__dataclass_fields__
    assert {name.partition(".")[0] for name in GoogleDoor.spelling} <= set(fields)


def body_of_the_client(contents: Any, config: types.GenerateContentConfig) -> dict[str, Any]:
    """What the official client would send."""
    with Client(api_key="made-up") as client:
        parameters = types._GenerateContentParameters(model="x", contents=contents, config=config)
        body = models._GenerateContentParameters_to_mldev(
            client._api_client, parameters, None, parameters
        )
        body.pop("_url", None)
        plain: dict[str, Any] = _common.encode_unserializable_types(_common.convert_to_dict(body))
        return plain


def test_what_the_official_client_sends_is_understood() -> None:
    history = [
        types.Content(role="user", parts=[types.Part.from_text(text="Where is this?")]),
        types.Content(
            role="model",
            parts=[
                types.Part(text="Let me look.", thought=True),
                types.Part(
                    function_call=types.FunctionCall(name="look", args={"at": "it"}, id="c-1"),
                    thought_signature=b"\xfb\xff\xfe",
                ),
            ],
        ),
        types.Content(
            role="user",
            parts=[
                types.Part(
                    function_response=types.FunctionResponse(
                        name="look", response={"result": "Bern"}, id="c-1"
                    )
                ),
                types.Part.from_bytes(data=b"\xfb\xff\xfe", mime_type="image/png"),
            ],
        ),
    ]
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        max_output_tokens=100,
        tools=[
            types.Tool(
                function_declarations=[
                    types.FunctionDeclaration(
                        name="look",
                        description="Looks",
                        parameters=types.Schema(
                            type=types.Type.OBJECT,
                            properties={"at": types.Schema(type=types.Type.STRING)},
                        ),
                    )
                ]
            )
        ],
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(
                mode=types.FunctionCallingConfigMode.ANY
            )
        ),
        thinking_config=types.ThinkingConfig(
            include_thoughts=True, thinking_level=types.ThinkingLevel.HIGH
        ),
    )
    assert read(body_of_the_client(history, config)) == ChatRequest(
        NAME,
        [
            user("Where is this?"),
            assistant(
                Reasoning("Let me look."),
                ToolCall("c-1", "look", '{"at":"it"}', mark("google", "-__-")),
            ),
            user(
                ToolResult("c-1", [Text("Bern")], "look"),
                Media("image", "image/png", data="+//+"),
            ),
        ],
        system=[Text("Be brief.")],
        temperature=0.5,
        max_tokens=100,
        tools=[Tool("look", "Looks", {"type": "object", "properties": {"at": {"type": "string"}}})],
        tool_choice=ToolChoice(Choice.REQUIRED),
        reasoning=ReasoningRequest(Effort.HIGH, visible=True),
    )


NAMES = st.sampled_from(
    ["contents", "role", "parts", "text", "inlineData", "fileData", "functionCall", "args", "name",
     "functionResponse", "response", "thought", "thoughtSignature", "tools", "type", "properties",
     "functionDeclarations", "parameters", "toolConfig", "functionCallingConfig", "mode", "enum",
     "generationConfig", "thinkingConfig", "responseSchema", "systemInstruction", "items", "data",
     "mimeType", "fileUri", "safetySettings", "threshold", "nullable", "minItems", "anyOf"]
)  # fmt: skip
SHAPES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.sampled_from(["user", "model", "OBJECT", "INTEGER", "application/json", "image/png"])
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=30,
)


@given(st.dictionaries(NAMES, SHAPES, max_size=6))
def test_any_shape_is_read_or_refused(body: dict[str, Any]) -> None:
    fault = fault_of(lambda: read({"contents": [HELLO], **body}))
    assert fault is None or fault.kind in (FaultKind.INVALID_REQUEST, FaultKind.UNSUPPORTED)


def deep(levels: int, name: str, leaf: Any) -> Any:
    for _ in range(levels):
        leaf = {name: leaf}
    return leaf


@pytest.mark.parametrize(
    "body",
    [
        {"contents": [HELLO, model(call("x", args=deep(400, "a", 1)))]},
        {
            "contents": [HELLO],
            "tools": [
                {"functionDeclarations": [{"name": "x", "parameters": deep(900, "items", {})}]}
            ],
        },
    ],
)
def test_what_is_nested_too_deeply_is_refused(body: dict[str, Any]) -> None:
    assert refusal(body)[0] is FaultKind.INVALID_REQUEST


def test_a_message_of_the_models_that_says_nothing_is_left_out() -> None:
    assert turns(HELLO, model({"text": ""}), HELLO) == [user("Hello"), user("Hello")]


def test_the_role_of_a_message_is_the_callers() -> None:
    assert [message.role for message in turns(HELLO, model({"text": "x"}))] == [
        Role.USER,
        Role.ASSISTANT,
    ]
