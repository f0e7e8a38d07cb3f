"""Providers' exports, in the forms that they really have."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.types import Provider
from model_service.providers.chat import Usage
from model_service.usage.provider_exports import Line, read_export

OPENAI_PAGE: dict[str, Any] = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": 1_730_419_200,  # 2024-11-01
            "end_time": 1_730_505_600,
            "results": [
                {
                    "object": "organization.usage.completions.result",
                    "input_tokens": 1000,
                    "output_tokens": 500,
                    "input_cached_tokens": 800,
                    "input_cache_write_tokens": 50,
                    "input_audio_tokens": 0,
                    "num_model_requests": 5,
                    "project_id": None,
                    "user_id": None,
                    "api_key_id": "key_a",
                    "model": "gpt-4o-2024-08-06",
                    "batch": None,
                    "service_tier": None,
                }
            ],
        },
        {"object": "bucket", "start_time": 1_730_505_600, "end_time": 1, "results": []},
    ],
    "has_more": False,
    "next_page": None,
}

OPENAI_CSV = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,"
    "api_key_id,model,batch,service_tier,input_tokens,output_tokens,input_cached_tokens,"
    "input_uncached_tokens\n"
    "1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,proj_1,10.0,"
    "user-1,key_a,gpt-4o-2024-08-06,FALSE,default,59200.0,10646.0,5760.0,53440.0\n"
    "1759708800,1759795200,2025-10-06T00:00:00+00:00,2025-10-07T00:00:00+00:00,,,,,,,,,,,\n"
)

OPENAI_COSTS_CSV = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,"
    "project_id,organization_id,organization_name\n"
    "1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,"
    "0.8958740000000000,usd,,,org-1,Personal\n"
    "1759968000,1760054400,2025-10-09T00:00:00+00:00,2025-10-10T00:00:00+00:00,,,,,,\n"
)

OPENAI_COSTS: dict[str, Any] = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": 1_730_419_200,
            "end_time": 1_730_505_600,
            "results": [
                {
                    "object": "organization.costs.result",
                    "amount": {"value": 0.06, "currency": "usd"},
                    "line_item": None,
                    "project_id": None,
                    "api_key_id": None,
                }
            ],
        }
    ],
    "has_more": True,
    "next_page": "page_2",
}

ANTHROPIC_PAGE: dict[str, Any] = {
    "data": [
        {
            "starting_at": "2025-08-01T00:00:00Z",
            "ending_at": "2025-08-02T00:00:00Z",
            "results": [
                {
                    "uncached_input_tokens": 1500,
                    "cache_creation": {
                        "ephemeral_1h_input_tokens": 1000,
                        "ephemeral_5m_input_tokens": 500,
                    },
                    "cache_read_input_tokens": 200,
                    "output_tokens": 500,
                    "server_tool_use": {"web_search_requests": 10},
                    "api_key_id": "apikey_1",
                    "workspace_id": "wrkspc_1",
                    "model": "claude-sonnet-4-20250514",
                    "service_tier": "standard",
                    "context_window": "0-200k",
                }
            ],
        }
    ],
    "has_more": False,
    "next_page": None,
}

ANTHROPIC_CSV = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,"
    "usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,"
    "usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,"
    "web_search_count,inference_geo,speed\n"
    "2026-03-22,claude-haiku-4-5-20251001,ci key,Default,standard,\u2264 200k,50000,10,20,30,"
    "2000,0,not_available,\n"
)

ANTHROPIC_COSTS_CSV = (
    "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,"
    "list_price_usd,cost_type,inference_geo,speed,api_key_id,api_key_status\n"
    "2026-08-04,Claude Haiku 4.5,Default,ci key,message,\u2264 200k,input_no_cache,0.05,0.05,"
    "token,not_available,,apikey_1,active\n"
)

ANTHROPIC_COSTS: dict[str, Any] = {
    "data": [
        {
            "starting_at": "2025-08-01T00:00:00Z",
            "ending_at": "2025-08-02T00:00:00Z",
            "results": [
                {
                    "currency": "USD",
                    "amount": "123.78912",
                    "workspace_id": "wrkspc_1",
                    "description": "Claude Sonnet 4 Usage - Input Tokens",
                    "cost_type": "tokens",
                    "context_window": "0-200k",
                    "model": "claude-sonnet-4-20250514",
                    "service_tier": "standard",
                    "token_type": "uncached_input_tokens",
                }
            ],
        }
    ],
    "has_more": False,
    "next_page": None,
}


def only(provider: Provider, export: str | dict[str, Any]) -> Line:
    text = export if isinstance(export, str) else json.dumps(export)
    (line,) = read_export(provider, text.encode()).lines
    return line


def test_openai_counts_cached_and_written_tokens_in_the_input() -> None:
    assert only(Provider.OPENAI, OPENAI_PAGE) == Line(
        date(2024, 11, 1),
        "key_a",
        None,
        "gpt-4o-2024-08-06",
        5,
        Usage(input=150, cached_input=800, cache_write=50, output=500),
    )


def test_openais_table_has_fractions_and_empty_days() -> None:
    line = only(Provider.OPENAI, OPENAI_CSV)
    assert (line.day, line.requests) == (date(2025, 10, 5), 10)
    assert line.usage == Usage(input=53_440, cached_input=5_760, output=10_646)


def test_openais_table_of_costs_is_read() -> None:
    line = only(Provider.OPENAI, OPENAI_COSTS_CSV)
    assert (line.day, line.cost) == (date(2025, 10, 5), Decimal("0.895874"))


def test_openais_costs_are_exact() -> None:
    assert only(Provider.OPENAI, OPENAI_COSTS).cost == Decimal("0.06")


def test_anthropic_counts_cached_tokens_beside_the_input() -> None:
    line = only(Provider.ANTHROPIC, ANTHROPIC_PAGE)
    assert (line.key, line.model) == ("apikey_1", "claude-sonnet-4-20250514")
    assert line.usage == Usage(
        input=1500, cached_input=200, cache_write=500, cache_write_1h=1000, output=500
    )


def test_anthropics_table_names_keys() -> None:
    line = only(Provider.ANTHROPIC, ANTHROPIC_CSV)
    assert (line.day, line.key, line.key_name) == (date(2026, 3, 22), None, "ci key")
    assert line.usage == Usage(
        input=50_000, cached_input=30, cache_write=10, cache_write_1h=20, output=2000
    )


def test_anthropics_table_of_costs_is_in_dollars() -> None:
    line = only(Provider.ANTHROPIC, ANTHROPIC_COSTS_CSV)
    assert (line.key, line.key_name) == ("apikey_1", "ci key")
    assert line.cost == Decimal("0.05")


def test_anthropics_costs_are_in_cents() -> None:
    assert only(Provider.ANTHROPIC, ANTHROPIC_COSTS).cost == Decimal("1.2378912")


def test_several_pages_may_be_in_one_file() -> None:
    pages = [OPENAI_PAGE, OPENAI_PAGE]
    assert len(read_export(Provider.OPENAI, json.dumps(pages).encode()).lines) == 2


def test_buckets_may_be_in_a_file_by_themselves() -> None:
    buckets = OPENAI_PAGE["data"]
    assert len(read_export(Provider.OPENAI, json.dumps(buckets).encode()).lines) == 1


def test_that_pages_are_missing_is_told() -> None:
    assert read_export(Provider.OPENAI, json.dumps(OPENAI_COSTS).encode()).is_partial
    assert not read_export(Provider.OPENAI, json.dumps(OPENAI_PAGE).encode()).is_partial


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_tables_may_be_separated_otherwise(delimiter: str) -> None:
    assert only(Provider.OPENAI, OPENAI_CSV.replace(",", delimiter)).requests == 10


def test_a_table_may_begin_with_a_byte_order_mark() -> None:
    assert only(Provider.ANTHROPIC, "\ufeff" + ANTHROPIC_CSV).model is not None


def test_buckets_of_an_hour_count_on_their_day_in_utc() -> None:
    export = json.loads(json.dumps(ANTHROPIC_PAGE))
    export["data"][0]["starting_at"] = "2025-08-01T23:00:00-02:00"
    assert only(Provider.ANTHROPIC, export).day == date(2025, 8, 2)


def fault(provider: Provider, content: str | bytes) -> FieldFault:
    given = content.encode() if isinstance(content, str) else content
    with pytest.raises(InvalidInput) as refused:
        read_export(provider, given)
    return refused.value.errors[0]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("", "file"),
        ("{", "file"),
        (b"\xff", "file"),
        ("a,b\n1,2\n", "line 2.input_tokens"),
        ('{"data": [{}]}', "file.data[0].results"),
        ('{"data": [{"results": [1]}]}', "file.data[0].results[0]"),
        ("[1]", "file[0]"),
        (OPENAI_CSV.replace("59200.0", "-1"), "line 2.input_tokens"),
        (OPENAI_CSV.replace("59200.0", "1.5"), "line 2.input_tokens"),
        (OPENAI_CSV.replace("59200.0", "many"), "line 2.input_tokens"),
        (OPENAI_CSV.replace("59200.0", "1e30"), "line 2.input_tokens"),
        (OPENAI_CSV.replace("59200.0", "5"), "line 2.input_tokens"),
        (OPENAI_CSV.replace("1759622400", "yesterday"), "line 2.start_time"),
        (OPENAI_COSTS_CSV.replace("usd", "eur"), "line 2.currency"),
        (json.dumps(OPENAI_PAGE).replace("1730419200", "null"), ""),
    ],
)
def test_what_cannot_be_read_is_told_by_its_place(content: str | bytes, field: str) -> None:
    found = fault(Provider.OPENAI, content).field
    assert found == field if field else found.endswith("start_time_iso")


def test_another_providers_export_is_refused() -> None:
    assert (
        "Anthropic" in fault(Provider.ANTHROPIC, OPENAI_CSV.replace("start_time_iso", "x")).message
    )
    assert "OpenAI" in fault(Provider.OPENAI, ANTHROPIC_CSV).message


def test_other_providers_have_no_exports_that_are_read() -> None:
    assert fault(Provider.GOOGLE, "{}").field == "provider"


def test_usage_and_costs_in_one_file_are_refused() -> None:
    both = json.dumps([OPENAI_PAGE, OPENAI_COSTS])
    assert fault(Provider.OPENAI, both).message == "holds both usage and costs"
