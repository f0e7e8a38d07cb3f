"""What Gemini is sent."""

from typing import Any

import pytest

from model_service.providers.chat import (
    ChatRequest,
    Choice,
    Media,
    Message,
    OutputFormat,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from model_service.providers.dialects.google.upstream import GoogleUpstream
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.signatures import mark
from model_service.providers.translation import Notes

from .wire import NAME, assistant, configured, sent, target, user

CALL = ToolCall("c-1", "look", '{"at":"it"}')
RESULT = ToolResult("c-1", [Text("Bern")])
CACHE = {"type": "ephemeral"}
TOOL = Tool("look", "Looks", {"type": "object", "properties": {"at": {"type": "string"}}})


def contents(*messages: Message, **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(*messages, **fields)[0]["contents"]
    return found


def refused(*messages: Message, **fields: Any) -> tuple[FaultKind, str | None]:
    with pytest.raises(CallFailed) as raised:
        sent(*messages, **fields)
    return raised.value.fault.kind, raised.value.fault.param


def path(model: str, *, stream: bool) -> str:
    request = ChatRequest(NAME, [user("Hi")], stream=stream)
    return GoogleUpstream().request(request, target(model), Notes({})).path


@pytest.mark.parametrize(
    ("model", "where"),
    [
        ("gemini-3.8-flash", "models/gemini-3.8-flash"),
        ("models/gemini-3.8-flash", "models/gemini-3.8-flash"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("odd/na me?x", "models/odd%2Fna%20me%3Fx"),
    ],
)
def test_the_path_names_model_and_method(model: str, where: str) -> None:
    assert path(model, stream=False) == f"/v1beta/{where}:generateContent"
    assert path(model, stream=True) == f"/v1beta/{where}:streamGenerateContent?alt=sse"


def test_the_system_prompt_is_the_instruction() -> None:
    body, _ = sent(system=[Text("Be brief."), Text(""), Text("Be kind.")])
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]}


def test_without_a_system_prompt_there_is_none() -> None:
    assert "systemInstruction" not in sent(system=[Text("")])[0]


def test_roles_alternate() -> None:
    messages = [user("a"), user("b"), assistant("c"), assistant("d"), user("e")]
    assert contents(*messages) == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}, {"text": "d"}]},
        {"role": "user", "parts": [{"text": "e"}]},
    ]


def test_an_instruction_in_mid_conversation_stays_where_it_is() -> None:
    messages = [user("a"), assistant("b"), Message(Role.SYSTEM, [Text("In French.")]), user("c")]
    assert contents(*messages)[2] == {
        "role": "user",
        "parts": [{"text": "In French."}, {"text": "c"}],
    }


def test_what_says_nothing_is_left_out() -> None:
    messages = [user("a", ""), assistant(""), user("b")]
    assert contents(*messages) == [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]


def test_a_user_who_says_nothing_at_all_says_so() -> None:
    assert contents(user("")) == [{"role": "user", "parts": [{"text": ""}]}]


def test_a_conversation_without_messages_is_refused() -> None:
    with pytest.raises(CallFailed) as raised:
        GoogleUpstream().request(
            ChatRequest(NAME, [], system=[Text("x")]), target(), Notes({"messages": "input"})
        )
    assert raised.value.fault.param == "input"


def test_results_stand_beside_the_names_of_their_calls() -> None:
    found = contents(user("x"), assistant(CALL), user(RESULT), model="gemini-2.5-flash")
    assert found[1:] == [
        {
            "role": "model",
            "parts": [{"functionCall": {"id": "c-1", "name": "look", "args": {"at": "it"}}}],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "c-1",
                        "name": "look",
                        "response": {"result": "Bern"},
                    }
                }
            ],
        },
    ]


def test_results_of_parallel_calls_are_one_turn_in_order() -> None:
    calls = assistant(ToolCall("a", "x", ""), ToolCall("b", "y", ""))
    results = [user(ToolResult("a", [Text("1")])), user(ToolResult("b", []))]
    found = contents(user("x"), calls, *results, user("And?"))
    assert [part.get("functionResponse", {}).get("id") for part in found[2]["parts"]] == [
        "a",
        "b",
        None,
    ]
    assert found[2]["parts"][1]["functionResponse"]["response"] == {"result": ""}


def test_a_result_that_is_an_error_says_so() -> None:
    failed = ToolResult("c-1", [Text("no such"), Text("city")], is_error=True)
    found = contents(user("x"), assistant(CALL), user(failed))
    response = found[2]["parts"][0]["functionResponse"]["response"]
    assert response == {"error": "no such\ncity"}


def test_a_result_is_never_an_object_of_its_own() -> None:
    schema = ToolResult("c-1", [Text('{"$ref": "#/$defs/x"}')])
    found = contents(user("x"), assistant(CALL), user(schema))
    response = found[2]["parts"][0]["functionResponse"]["response"]
    assert response == {"result": '{"$ref": "#/$defs/x"}'}


def test_a_result_may_hold_images() -> None:
    result = ToolResult("c-1", [Text("see"), Media("image", "image/png", data="QUJD")])
    response = contents(user("x"), assistant(CALL), user(result))[2]["parts"][0]
    assert response["functionResponse"]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    ]


def test_before_gemini_3_results_with_images_are_refused() -> None:
    result = ToolResult("c-1", [Media("image", "image/png", data="QUJD")])
    messages = [user("x"), assistant(CALL), user(result)]
    assert refused(*messages, model="gemini-2.5-pro") == (FaultKind.UNSUPPORTED, "messages")


def test_a_result_of_no_call_is_refused() -> None:
    assert refused(user("x"), user(RESULT)) == (FaultKind.INVALID_REQUEST, "messages")


def test_arguments_that_were_cut_are_sent_as_text() -> None:
    found = contents(user("x"), assistant(ToolCall("c", "look", '{"at": "i')))
    call = found[1]["parts"][0]["functionCall"]
    assert call["args"] == {"arguments": '{"at": "i'}


def test_a_refusal_is_what_the_model_said() -> None:
    assert contents(user("x"), assistant(Refusal("No.")))[1]["parts"] == [{"text": "No."}]


def test_a_signature_goes_back_on_the_call_it_came_with() -> None:
    signed = ToolCall("c-1", "look", "{}", mark("google", "c2ln"))
    found = contents(user("x"), assistant(signed, ToolCall("c-2", "look", "{}")))
    assert [part.get("thoughtSignature") for part in found[1]["parts"]] == ["c2ln", None]


def test_calls_of_the_turn_under_way_that_others_made_are_marked_step_by_step() -> None:
    messages = [
        user("x"),
        assistant(CALL, ToolCall("c-2", "look", "{}", mark("anthropic", "abc"))),
        user(RESULT, ToolResult("c-2", []), "and hurry"),
        assistant(ToolCall("c-3", "look", "{}")),
        user(ToolResult("c-3", [])),
    ]
    found = contents(*messages)
    dummy = "skip_thought_signature_validator"
    assert [part.get("thoughtSignature") for part in found[1]["parts"]] == [dummy, None]
    assert found[3]["parts"][0]["thoughtSignature"] == dummy


def test_calls_of_earlier_turns_need_no_mark() -> None:
    messages = [user("x"), assistant(CALL), user(RESULT), assistant("Bern."), user("And?")]
    assert "thoughtSignature" not in contents(*messages)[1]["parts"][0]


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "gemini-2.0-flash", "gemma-4-31b-it"])
def test_models_that_sign_no_calls_want_no_mark(model: str) -> None:
    found = contents(user("x"), assistant(CALL), user(RESULT), model=model)
    assert "thoughtSignature" not in found[1]["parts"][0]


def test_a_thought_of_googles_goes_back_signed() -> None:
    found = contents(user("x"), assistant(Reasoning("Hm", mark("google", "c2ln")), "Hi"))
    assert found[1]["parts"] == [
        {"text": "Hm", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "Hi"},
    ]


def test_a_hidden_thought_goes_back_on_the_text_before_it() -> None:
    hidden = Reasoning("", mark("google", "c2ln"), redacted=True)
    assert contents(user("x"), assistant("Hi", hidden))[1]["parts"] == [
        {"text": "Hi", "thoughtSignature": "c2ln"}
    ]


def test_a_hidden_thought_without_a_text_stands_alone() -> None:
    hidden = Reasoning("", mark("google", "c2ln"), redacted=True)
    signed = Reasoning("Hm", mark("google", "b25l"))
    assert contents(user("x"), assistant(signed, hidden))[1]["parts"] == [
        {"text": "Hm", "thought": True, "thoughtSignature": "b25l"},
        {"text": "", "thoughtSignature": "c2ln"},
    ]


@pytest.mark.parametrize("signature", [None, mark("anthropic", "abc"), mark("openai", "abc")])
def test_thoughts_of_others_are_not_sent_and_are_listed(signature: str | None) -> None:
    body, dropped = sent(user("x"), assistant(Reasoning("Hm", signature), "Hi"))
    assert body["contents"][1]["parts"] == [{"text": "Hi"}]
    assert dropped == ["messages.reasoning"]


@pytest.mark.parametrize("kind", ["image", "audio", "file"])
def test_data_is_inline(kind: str) -> None:
    media = Media(kind, f"{kind}/x", data="QUJD")
    assert contents(user(media))[0]["parts"] == [
        {"inlineData": {"mimeType": f"{kind}/x", "data": "QUJD"}}
    ]


@pytest.mark.parametrize(
    ("url", "media_type", "wanted"),
    [
        ("https://a.test/b.PNG?x=1", None, "image/png"),
        ("https://a.test/b.jpg#x", None, "image/jpeg"),
        ("https://a.test/b", "image/webp", "image/webp"),
        ("https://a.test/b", None, None),
    ],
)
def test_a_url_is_for_the_api_to_fetch(
    url: str, media_type: str | None, wanted: str | None
) -> None:
    file = {"fileUri": url} if wanted is None else {"fileUri": url, "mimeType": wanted}
    assert contents(user(Media("image", media_type, url=url)))[0]["parts"] == [{"fileData": file}]


def test_a_file_that_another_provider_keeps_is_refused() -> None:
    assert refused(user(Media("file", file_id="file-1"))) == (FaultKind.UNSUPPORTED, "messages")


def test_data_without_a_media_type_is_refused_however_lenient_the_call() -> None:
    assert refused(user(Media("image", data="QUJD")), lenient=True) == (
        FaultKind.UNSUPPORTED,
        "messages",
    )


def test_one_detail_for_all_images_is_the_resolution() -> None:
    images = [Media("image", "image/png", data="QUJD", detail="low") for _ in range(2)]
    body, dropped = sent(user(*images))
    assert body["generationConfig"]["mediaResolution"] == "MEDIA_RESOLUTION_LOW"
    assert dropped == []


def test_details_that_differ_are_dropped_and_named() -> None:
    images = [Media("image", "image/png", data="QUJD", detail=word) for word in ("low", "high")]
    body, dropped = sent(user(*images))
    assert "mediaResolution" not in body["generationConfig"]
    assert dropped == ["messages.detail"]


@pytest.mark.parametrize("detail", [None, "auto"])
def test_a_detail_that_says_nothing_is_not_sent(detail: str | None) -> None:
    body, dropped = sent(user(Media("image", "image/png", data="QUJD", detail=detail)))
    assert "mediaResolution" not in body["generationConfig"]
    assert dropped == []


def test_sampling_is_configured() -> None:
    assert configured(
        max_tokens=50, temperature=0.0, top_p=0.9, top_k=40, stop=["END"], seed=7, n=2,
        presence_penalty=0.5, frequency_penalty=-0.5, logprobs=True, top_logprobs=3,
    ) == {
        "maxOutputTokens": 50, "temperature": 0.0, "topP": 0.9, "topK": 40,
        "stopSequences": ["END"], "seed": 7, "candidateCount": 2, "presencePenalty": 0.5,
        "frequencyPenalty": -0.5, "responseLogprobs": True, "logprobs": 3,
    }  # fmt: skip


def test_what_changes_nothing_is_not_sent() -> None:
    body, dropped = sent(
        n=1, presence_penalty=0, frequency_penalty=0.0, logprobs=False, logit_bias={},
        verbosity="medium", service_tier="auto", parallel_tool_calls=False, metadata={},
    )  # fmt: skip
    assert body.keys() == {"contents", "generationConfig"}
    assert body["generationConfig"] == {"maxOutputTokens": 1000}
    assert dropped == []


def test_registered_defaults_apply_where_the_caller_is_silent() -> None:
    request = ChatRequest(NAME, [user("Hi")])
    registered = target(max_tokens=77, default_temperature=0.3)
    body = GoogleUpstream().request(request, registered, Notes({})).body
    assert body["generationConfig"] == {"maxOutputTokens": 77, "temperature": 0.3}


def test_annotations_are_dropped_and_named() -> None:
    _, dropped = sent(
        Message(Role.USER, [Text("Hi", CACHE), Media("file", "application/pdf", data="QUJD",
                                                     name="a.pdf")], name="Ann"),
        user="u-1", metadata={"a": "b"}, system=[Text("x", CACHE)],
    )  # fmt: skip
    assert sorted(dropped) == [
        "cache_control", "messages.filename", "messages.name", "metadata", "user",
    ]  # fmt: skip


def test_cache_marks_are_dropped_and_named_wherever_they_stand() -> None:
    marked = ToolResult("c-1", [Text("Bern", CACHE)])
    assert sent(user("x"), assistant(CALL), user(marked))[1] == ["cache_control"]
    assert sent(tools=[Tool("look", cache=CACHE)])[1] == ["cache_control"]


def test_several_names_are_refused() -> None:
    messages = [Message(Role.USER, [Text("Hi")], name=name) for name in ("Ann", "Bob")]
    assert refused(*messages) == (FaultKind.UNSUPPORTED, "messages.name")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logit_bias", {"50256": -100}),
        ("verbosity", "low"),
        ("service_tier", "scale"),
        ("seed", 2**31),
    ],
)
def test_what_gemini_has_nothing_like_is_refused(field: str, value: Any) -> None:
    assert refused(**{field: value}) == (FaultKind.UNSUPPORTED, field)


def test_a_lenient_call_has_it_dropped_and_named() -> None:
    body, dropped = sent(lenient=True, logit_bias={"1": 1}, seed=2**40)
    assert body["generationConfig"] == {"maxOutputTokens": 1000}
    assert sorted(dropped) == ["logit_bias", "seed"]


def test_several_answers_in_a_stream_are_refused() -> None:
    assert refused(n=2, stream=True) == (FaultKind.UNSUPPORTED, "n")


@pytest.mark.parametrize(
    ("tier", "wanted"),
    [("flex", "flex"), ("priority", "priority"), ("default", None), ("standard_only", None)],
)
def test_the_tier_is_sent_when_it_is_not_the_usual_one(tier: str, wanted: str | None) -> None:
    assert sent(service_tier=tier)[0].get("serviceTier") == wanted


def test_tools_are_functions_with_json_schemas() -> None:
    tools = [TOOL, Tool("stop", schema={"type": "object", "properties": {}}), Tool("wait")]
    assert sent(tools=tools)[0]["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "look",
                    "description": "Looks",
                    "parametersJsonSchema": {
                        "type": "object",
                        "properties": {"at": {"type": "string"}},
                    },
                },
                {"name": "stop", "description": ""},
                {"name": "wait", "description": ""},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (None, None),
        (ToolChoice(Choice.AUTO), {"mode": "AUTO"}),
        (ToolChoice(Choice.REQUIRED), {"mode": "ANY"}),
        (ToolChoice(Choice.NONE), {"mode": "NONE"}),
        (
            ToolChoice(Choice.NAMED, "look"),
            {"mode": "ANY", "allowedFunctionNames": ["look"]},
        ),
        (
            ToolChoice(Choice.REQUIRED, allowed=["look"]),
            {"mode": "ANY", "allowedFunctionNames": ["look"]},
        ),
        (
            ToolChoice(Choice.AUTO, allowed=["look"]),
            {"mode": "VALIDATED", "allowedFunctionNames": ["look"]},
        ),
    ],
)
def test_which_tools_are_called_is_the_mode(
    choice: ToolChoice | None, wanted: dict[str, Any] | None
) -> None:
    config = sent(tools=[TOOL], tool_choice=choice)[0].get("toolConfig")
    assert config == (None if wanted is None else {"functionCallingConfig": wanted})


@pytest.mark.parametrize(
    ("model", "wanted"),
    [("gemini-2.5-flash", {"functionCallingConfig": {"mode": "VALIDATED"}}),
     ("gemini-2.0-flash", None)],
)  # fmt: skip
def test_strict_tools_are_validated_where_the_model_can(model: str, wanted: Any) -> None:
    strict = Tool("look", "Looks", {"type": "object", "properties": {"a": {}}}, strict=True)
    assert sent(tools=[strict], model=model)[0].get("toolConfig") == wanted


def test_a_choice_without_tools_is_not_sent() -> None:
    assert "toolConfig" not in sent(tool_choice=ToolChoice(Choice.AUTO))[0]


def test_one_call_at_a_time_is_refused() -> None:
    assert refused(tools=[TOOL], parallel_tool_calls=False) == (
        FaultKind.UNSUPPORTED,
        "parallel_tool_calls",
    )


def test_several_calls_at_once_are_what_gemini_does() -> None:
    assert "toolConfig" not in sent(tools=[TOOL], parallel_tool_calls=True)[0]


def test_the_form_of_the_answer_is_a_json_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"const": 1}}}
    config = configured(output=OutputFormat(schema, "number", "A number", strict=True))
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == {
        "type": "object",
        "properties": {"n": {"enum": [1], "type": "integer"}},
        "description": "A number",
    }


def test_any_json_needs_no_schema() -> None:
    config = configured(output=OutputFormat())
    assert config == {"maxOutputTokens": 1000, "responseMimeType": "application/json"}


def test_a_history_of_calls_needs_no_tools() -> None:
    assert "tools" not in sent(user("x"), assistant(CALL), user(RESULT))[0]
