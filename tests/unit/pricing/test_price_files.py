"""Files with prices: what is read, and what is said of what is not sound."""

import json
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from model_service.catalog.genai_listings import listings_of
from model_service.catalog.price_file import Format, PriceFile, read_price_file
from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.types import Provider
from model_service.providers.chat import Usage
from model_service.providers.price_schedule import Chapter, Schedule
from model_service.providers.pricing import Price

M = 1_000_000

HOUSE: dict[str, Any] = {
    "format": "model-service-prices/1",
    "edition": "house 7",
    "effectiveFrom": "2026-12-01T01:00:00+01:00",
    "models": [
        {"provider": "OPENAI", "model": "gpt-x", "prices": [{"input": 2.5, "output": 15}]},
        {
            "provider": "OPENAI",
            "model": "gpt-x-",
            "startsWith": True,
            "prices": [{"input": 3}, {"from": "2026-12-31", "input": 4}],
        },
        {"provider": "CUSTOM", "model": "llama", "prices": [{"input": 1}]},
        {
            "provider": "CUSTOM",
            "model": "llama",
            "baseUrl": "https://one.example/v1",
            "prices": [{"input": 2, "perImage": 0.04, "perCall": 0.01}],
        },
    ],
}

GENAI: list[dict[str, Any]] = [
    {
        "id": "openai",
        "name": "OpenAI",
        "api_pattern": r"https://api\.openai\.com",
        "models": [
            {
                "id": "gpt-z",
                "match": {"or": [{"equals": "gpt-z"}, {"starts_with": "gpt-z-"}]},
                "prices": [
                    {"prices": {"input_mtok": 1.5, "output_mtok": 6}},
                    {
                        "constraint": {"start_date": "2026-12-01"},
                        "prices": {
                            "input_mtok": {"base": 1, "tiers": [{"start": 1000, "price": 2}]},
                            "output_mtok": 4,
                        },
                    },
                ],
                "price_variants": [
                    {"when": {"processing": "batch"}, "prices": {"input_mtok": 0.5}}
                ],
            }
        ],
    }
]


def read(document: object, **options: Any) -> PriceFile:
    return read_price_file(json.dumps(document).encode(), **options)


def price(file: PriceFile, model_id: str, base_url: str | None = None, at: float = 0) -> Price:
    provider = Provider.CUSTOM if model_id == "llama" else Provider.OPENAI
    listings = file.models.listings(provider, model_id, base_url)
    found = Schedule(lambda: [Chapter(file.name, None, listings)]).at(at)
    assert found is not None
    return found


def fault(content: bytes) -> FieldFault:
    with pytest.raises(InvalidInput) as refused:
        read_price_file(content)
    return refused.value.errors[0]


def changed(path: str, value: object) -> bytes:
    """Our file with something else at a place such as `models.0.model`."""
    document: Any = deepcopy(HOUSE)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    part = document
    for step in steps:
        part = part[step]
    part[last] = value
    return json.dumps(document).encode()


def test_our_format_is_read() -> None:
    file = read(HOUSE)
    assert (file.name, file.format, file.count) == ("house 7", Format.HOUSE, 4)
    assert file.effective_from is not None
    assert file.effective_from.isoformat() == "2026-12-01T00:00:00+00:00"


def test_prices_are_read_as_they_are_written() -> None:
    assert price(read(HOUSE), "gpt-x").cost(Usage(input=1)) == Decimal("0.0000025")


def test_a_models_own_entry_goes_before_that_of_a_beginning() -> None:
    file = read(HOUSE)
    assert price(file, "GPT-X").cost(Usage(input=M)) == Decimal("2.5")
    assert price(file, "gpt-x-mini").cost(Usage(input=M)) == 3


def test_an_entry_for_an_address_goes_before_one_for_any() -> None:
    file = read(HOUSE)
    assert price(file, "llama", "https://one.example/v1").rates.image == Decimal("0.04")
    assert price(file, "llama", "https://two.example/v1").cost(Usage(input=M)) == 1


def test_a_model_that_is_not_in_the_file_has_no_listings() -> None:
    assert read(HOUSE).models.listings(Provider.ANTHROPIC, "gpt-x") == ()


def test_another_name_may_be_given() -> None:
    assert read(HOUSE, name="mine").name == "mine"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("format", "model-service-prices/2", "format"),
        ("edition", "", "edition"),
        ("edition", "a@b", "edition"),
        ("effectiveFrom", "2026-12-01", "effectiveFrom"),
        ("effectiveFrom", "2026-12-01T00:00:00", "effectiveFrom"),
        ("models", [], "models"),
        ("models.0.provider", "NOBODY", "models[0].provider"),
        ("models.0.baseUrl", "https://x.example", "models[0]"),
        ("models.0.prices", [], "models[0].prices"),
        ("models.0.prices.0.input", -1, "models[0].prices[0].input"),
        ("models.0.prices.0.input", "a", "models[0].prices[0].input"),
        ("models.0.prices.0.input", 1e7, "models[0].prices[0].input"),
        ("models.0.prices.0.inputs", 1, "models[0].prices[0].inputs"),
        ("models.0.prices.0", {"output": 1}, "models[0].prices[0]"),
        ("models.0.prices.0.from", "2026-02-30", "models[0].prices[0].from"),
        ("models.1.prices.1.from", None, "models[1]"),
        ("models.1.model", "gpt-x", ""),
        ("models.0.prices.0.tiers", {"flex": {}}, "models[0].prices[0].tiers.flex"),
        (
            "models.0.prices.0.longContext",
            [{"above": 5, "cachedInput": 1}],
            "models[0].prices[0]",
        ),
    ],
)
def test_a_fault_is_told_by_its_place(path: str, value: object, field: str) -> None:
    if not field:
        document = json.loads(changed(path, value))
        document["models"][1]["startsWith"] = False
        found = fault(json.dumps(document).encode())
        assert "models[1] says the same again as models[0]" in found.message
        return
    assert fault(changed(path, value)).field == field


def test_a_typing_error_is_told_by_line_and_column() -> None:
    assert "line 2, column 3" in fault(b'{"a": 1,\n  x}').message


@pytest.mark.parametrize("content", [b"\xff", b'{"a": NaN}', b"[" * 100_000, b'"\\u0000\0"', b""])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    assert fault(content).field == "file"


def test_the_data_of_genai_prices_is_read() -> None:
    file = read(GENAI)
    assert (file.format, file.count, file.effective_from) == (Format.GENAI, 1, None)
    assert file.name == f"genai-prices {file.digest[:12]}"


def test_dates_steps_and_batches_of_genai_prices_are_kept() -> None:
    file = read(GENAI)
    begin = 1_796_083_200  # 2026-12-01
    assert price(file, "gpt-z-mini", at=begin - 1).cost(Usage(input=M)) == Decimal("1.5")
    later = price(file, "gpt-z", at=begin)
    assert later.cost(Usage(input=1000)) == Decimal("0.001")
    assert later.cost(Usage(input=1001)) == Decimal("0.002002")
    assert later.in_tier("batch").cost(Usage(input=M, output=M)) == Decimal("4.5")


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"id": "gpt-z"', '"no": "gpt-z"', "[0].models[0].models.id"),
        ("1.5", '"much"', "[0].models[0].input_mtok.decimal"),
        ("1.5", "-1.5", "openai/gpt-z"),
        ('"name": "OpenAI"', '"no": 1', "[0].models[0].name"),
    ],
)
def test_a_fault_in_the_data_of_genai_prices_is_told_by_its_model(
    old: str, new: str, field: str
) -> None:
    assert fault(json.dumps(GENAI).replace(old, new).encode()).field == field


@pytest.mark.parametrize("document", [[], [1], [{"id": "x"}], 5])
def test_what_prices_nothing_is_refused(document: object) -> None:
    assert fault(json.dumps(document).encode()).field


def test_all_that_is_bundled_can_be_read() -> None:
    infos = [info for vendor in get_snapshot().providers for info in vendor.models]
    priced = [listings_of(info) for info in infos]
    assert sum(map(bool, priced)) > 2000


def test_models_priced_by_hours_of_audio_are_not_priced_by_tokens() -> None:
    (openai,) = (one for one in get_snapshot().providers if one.id == "openai")
    whisper = openai.find_model("whisper-1")
    assert whisper is not None
    assert listings_of(whisper) == ()
