"""Importing rows: what arrives, what is left out and why."""

import io
import json
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console
from sqlalchemy import select

from model_service.catalog.domain import ModelFilter, NewModel
from model_service.cli import import_report
from model_service.cli.earlier_rows import stable_id
from model_service.cli.import_report import LeftOut, Outcome, Report
from model_service.db.tables import api_keys, models
from model_service.kernel.audit import Purpose
from model_service.kernel.errors import StartupFault
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import KeyFilter, NewKey
from model_service.service import Service
from model_service.vault.encoding import encode_base64
from tests.e2e.earlier_service import NOON, EarlierService, Importer, sealed

THEN = NOON.replace(tzinfo=UTC)
VALUE = "sk-earlier-0123456789abcdefgh"


def shown(report: Report) -> str:
    output = io.StringIO()
    report.show(Console(file=output, width=200, markup=False, highlight=False))
    return output.getvalue()


async def count(service: Service) -> tuple[int, int]:
    stats = await service.models.stats(ModelFilter())
    return stats.total, await service.keys.count(KeyFilter())


async def test_a_model_keeps_its_id_its_times_and_every_field(
    earlier: EarlierService, importer: Importer, service: Service
) -> None:
    model_id = await earlier.add_model(
        "house model",
        provider="CUSTOM",
        modelId="house-1",
        description="Ünïcode, 'quotes'",
        maxTokens=123,
        supportsStreaming=False,
        defaultTemperature=0.7,
        rateLimitPerMinute=0,
        rateLimitPerDay=2**31 - 1,
        inputCostPer1kTokens=Decimal("0.00015"),
        outputCostPer1kTokens=1e-05,
        providerSettings=json.dumps({"baseUrl": "https://models.example.org/v1"}),
        isActive=False,
        metadata=json.dumps({"deep": [{"null": None}]}),
        updatedAt=NOON + timedelta(days=1),
    )
    report = await importer(earlier.url)
    assert report.status == 0
    model = await service.models.get(UUID(model_id))
    assert (model.name, model.provider, model.model_id) == (
        "house model",
        Provider.CUSTOM,
        "house-1",
    )
    assert model.description == "Ünïcode, 'quotes'"
    assert (model.max_tokens, model.supports_streaming, model.is_active) == (123, False, False)
    assert model.default_temperature == 0.7
    assert (model.rate_limit_per_minute, model.rate_limit_per_hour) == (0, None)
    assert model.rate_limit_per_day == 2**31 - 1
    assert model.input_cost_per_1k_tokens == Decimal("0.00015")
    assert model.output_cost_per_1k_tokens == Decimal("0.00001")
    assert model.provider_settings == {"baseUrl": "https://models.example.org/v1"}
    assert model.metadata == {"deep": [{"null": None}]}
    assert (model.created_at, model.updated_at) == (THEN, THEN + timedelta(days=1))


async def test_a_key_keeps_its_id_history_and_value(
    earlier: EarlierService, importer: Importer, service: Service
) -> None:
    key_id = await earlier.add_key(
        "laptop",
        encryptedKey=sealed(VALUE),
        lastUsedAt=NOON + timedelta(hours=1),
        usageCount=41,
        isValid=False,
        metadata=json.dumps({"team": "blue"}),
        expiresAt=NOON + timedelta(days=36500),
        validatedAt=NOON - timedelta(hours=1),
    )
    report = await importer(earlier.url)
    assert report.status == 0
    key = await service.keys.get(UUID(key_id))
    assert (key.user_id, key.provider, key.key_name) == ("ada", Provider.OPENAI, "laptop")
    assert (key.usage_count, key.is_active, key.is_valid) == (41, True, False)
    assert key.key_prefix == "sk-earl...efgh"
    assert key.metadata == {"team": "blue"}
    assert (key.created_at, key.updated_at) == (THEN, THEN)
    assert key.last_used_at == THEN + timedelta(hours=1)
    assert key.expires_at == THEN + timedelta(days=36500)
    assert key.validated_at == THEN - timedelta(hours=1)
    assert (await service.keys.reveal(key.id, Purpose.DECRYPT)).reveal() == VALUE


async def test_an_id_that_is_no_uuid_becomes_the_same_one_at_every_run(
    earlier: EarlierService, importer: Importer, service: Service
) -> None:
    await earlier.add_model("m", id="clh3v9x0a0000qz")
    first = await importer(earlier.url)
    second = await importer(earlier.url)
    model = await service.models.get(stable_id("models", "clh3v9x0a0000qz"))
    assert model.name == "m"
    assert model.id.version == 5
    assert "1 ids in models were not UUIDs" in shown(first)
    assert second.counted("models", Outcome.THERE) == 1
    assert second.status == 0


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"encryptedKey": "not base64!"}, "A stored record is not base64"),
        ({"encryptedKey": ""}, "A key of the earlier service is too short"),
        ({"encryptedKey": encode_base64(bytes(63))}, "A key of the earlier service is too short"),
        ({"encryptedKey": encode_base64(bytes(80))}, "does not open"),
        ({"encryptedKey": sealed(VALUE)[:-8]}, "does not open"),
        ({"encryptedKey": sealed("sk-two words")}, "apiKey: must be 8 to 512 printable ASCII"),
        ({"encryptedKey": sealed("short")}, "apiKey: must be 8 to 512 printable ASCII"),
        ({"provider": "MISTRAL"}, "provider: unknown provider MISTRAL"),
        ({"keyName": ""}, "keyName: String should have at least 1 character"),
        ({"userId": "u" * 256}, "userId: String should have at most 255 characters"),
        ({"usageCount": -1}, "usageCount: Input should be greater than or equal to 0"),
        ({"metadata": "[1, 2]"}, "metadata: Input should be a valid dictionary"),
        ({"metadata": '{"deep": ' + "[" * 20 + "]" * 20 + "}"}, "must not nest deeper than"),
        ({"metadata": '{"endpoint": 7}'}, "metadata.endpoint: must be a string"),
        (
            {"provider": "AZURE", "metadata": '{"endpoint": "https://evil.example.org"}'},
            "metadata.endpoint:",
        ),
    ],
)
async def test_a_key_that_cannot_be_read_is_named_with_its_reason_and_the_others_come(
    earlier: EarlierService,
    importer: Importer,
    service: Service,
    columns: dict[str, Any],
    reason: str,
) -> None:
    bad = await earlier.add_key("bad" if "keyName" not in columns else "", **columns)
    good = await earlier.add_key("good", encryptedKey=sealed(VALUE))
    report = await importer(earlier.url)
    assert report.status == 3
    assert report.counted("api_keys", Outcome.UNREADABLE) == 1
    text = shown(report)
    assert bad in text
    assert reason in text
    assert VALUE not in text
    assert (await service.keys.get(UUID(good))).key_name == "good"
    assert await count(service) == (0, 1)


async def test_a_time_outside_the_calendar_spoils_its_own_row_alone(
    earlier: EarlierService, importer: Importer, service: Service
) -> None:
    for name, value in (("endless", "infinity"), ("ancient", "0044-03-15 00:00:00 BC")):
        key_id = await earlier.add_key(name)
        await earlier.execute(
            f"""UPDATE api_keys SET "expiresAt" = '{value}' WHERE id = '{key_id}'"""  # noqa: S608
        )
    await earlier.add_key("good")
    report = await importer(earlier.url)
    assert report.counted("api_keys", Outcome.UNREADABLE) == 2
    assert "expiresAt: " in shown(report)
    assert await count(service) == (0, 1)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"maxTokens": 0}, "maxTokens: Input should be greater than or equal to 1"),
        ({"defaultTemperature": 2.5}, "defaultTemperature: Input should be less than or equal"),
        ({"defaultTemperature": float("nan")}, "defaultTemperature: Input should be a finite"),
        ({"outputCostPer1kTokens": float("inf")}, "outputCostPer1kTokens: "),
        ({"inputCostPer1kTokens": Decimal(-1)}, "inputCostPer1kTokens: Input should be greater"),
        ({"inputCostPer1kTokens": Decimal("NaN")}, "inputCostPer1kTokens: "),
        ({"rateLimitPerHour": -5}, "rateLimitPerHour: Input should be greater"),
        ({"description": "d" * 10_001}, "description: String should have at most 10000"),
        (
            {"provider": "CUSTOM", "providerSettings": '{"baseUrl": "ftp://example.org"}'},
            "providerSettings.baseUrl:",
        ),
    ],
)
async def test_a_model_out_of_bounds_is_reported_and_nothing_is_clamped(
    earlier: EarlierService,
    importer: Importer,
    service: Service,
    columns: dict[str, Any],
    reason: str,
) -> None:
    bad = await earlier.add_model("bad", **columns)
    await earlier.add_model("good")
    report = await importer(earlier.url)
    assert report.status == 3
    assert bad in shown(report)
    assert reason in shown(report)
    assert [model.name for model in await service.models.list_all(ModelFilter())] == ["good"]


async def test_a_name_that_another_row_has_is_reported_as_taken(
    earlier: EarlierService, importer: Importer, service: Service
) -> None:
    await take_the_names(service)
    await earlier.add_model("taken")
    await earlier.add_key("taken", encryptedKey=sealed(VALUE))
    report = await importer(earlier.url)
    assert report.status == 3
    assert report.counted("models", Outcome.TAKEN) == 1
    assert report.counted("api_keys", Outcome.TAKEN) == 1
    assert await count(service) == (1, 1)


async def take_the_names(service: Service) -> None:
    """A model and a key of the target's own, named as those that are to come."""
    await service.models.create(NewModel(name="taken", provider=Provider.OPENAI, model_id="x"))
    new = NewKey("ada", Provider.OPENAI, "taken", Secret("sk-own-0123456789"))
    await service.keys.create(new, validate=False)


async def test_of_two_defaults_one_stays_and_the_other_is_told_of(
    earlier: EarlierService, importer: Importer, service: Service
) -> None:
    await earlier.add_model("one", id="1", isDefault=True)
    await earlier.add_model("two", id="2", isDefault=True)
    report = await importer(earlier.url)
    default = (await service.models.get_default()).name
    other = {"one": "two", "two": "one"}[default]
    assert f"'{other}' was a default model; it was imported as an ordinary one" in shown(report)
    assert report.status == 0
    assert await count(service) == (2, 0)


async def test_the_default_that_is_here_stays_the_default(
    earlier: EarlierService, importer: Importer, service: Service
) -> None:
    own = NewModel(name="own", provider=Provider.OPENAI, model_id="x", is_default=True)
    await service.models.create(own)
    await earlier.add_model("theirs", isDefault=True)
    report = await importer(earlier.url)
    assert (await service.models.get_default()).name == "own"
    assert "'theirs' was a default model" in shown(report)


async def test_a_dry_run_finds_the_same_and_stores_nothing(
    earlier: EarlierService, importer: Importer, service: Service
) -> None:
    await take_the_names(service)
    await earlier.add_model("fine", isDefault=True)
    await earlier.add_model("taken")
    await earlier.add_key("fine", encryptedKey=sealed(VALUE))
    await earlier.add_key("bad", encryptedKey="?")
    async with service.database.single() as connection:
        before = [(await connection.execute(select(t))).all() for t in (models, api_keys)]
    rehearsed = await importer(earlier.url, dry_run=True)
    async with service.database.single() as connection:
        after = [(await connection.execute(select(t))).all() for t in (models, api_keys)]
    assert before == after
    assert rehearsed.status == 3
    assert "nothing was stored" in shown(rehearsed)
    real = await importer(earlier.url)
    for table in ("models", "api_keys"):
        for outcome in Outcome:
            assert rehearsed.counted(table, outcome) == real.counted(table, outcome)
    assert await count(service) == (2, 2)


async def test_a_wrong_secret_is_suspected_early_and_said_at_the_end(
    earlier: EarlierService, importer: Importer, service: Service
) -> None:
    for number in range(21):
        await earlier.add_key(f"key {number}")
    report = await importer(earlier.url, secret=Secret("not the secret"))
    suspicion = "one of the keys opened: --secret-file probably holds another secret"
    assert importer.warnings == [f"n{suspicion}; stop it (Ctrl-C) and look"]
    assert f"N{suspicion}." in shown(report)
    assert report.counted("api_keys", Outcome.UNREADABLE) == 21
    assert await count(service) == (0, 0)


async def test_older_tables_may_lack_what_has_a_default(
    earlier: EarlierService, importer: Importer, service: Service
) -> None:
    for column in ("isValid", "validatedAt", "expiresAt", "metadata", "keyPrefix", "createdAt"):
        await earlier.execute(f'ALTER TABLE api_keys DROP COLUMN "{column}"')
    await earlier.execute("ALTER TABLE api_keys ALTER COLUMN provider TYPE text")
    sql = """INSERT INTO api_keys (id, "userId", provider, "keyName", "encryptedKey", "updatedAt")
             VALUES ('1', 'ada', 'openai', 'k', $1, $2)"""
    await earlier.connection.execute(sql, sealed(VALUE), NOON)
    await earlier.execute("DROP TABLE models")
    report = await importer(earlier.url)
    key = await service.keys.get(stable_id("api_keys", "1"))
    assert report.status == 0
    assert (key.provider, key.is_valid, key.created_at) == (Provider.OPENAI, False, THEN)
    assert "There is no table models to import." in shown(report)


async def test_a_table_without_its_main_columns_is_not_the_earlier_services(
    earlier: EarlierService, importer: Importer
) -> None:
    await earlier.execute('ALTER TABLE api_keys DROP COLUMN "encryptedKey"')
    with pytest.raises(StartupFault, match=r"api_keys at .* has no column encryptedKey"):
        await importer(earlier.url)


def test_more_rows_than_the_list_has_room_for_are_complained_of_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(import_report, "LISTED", 2)
    complaints: list[str] = []
    report = Report(complaints.append, dry_run=False)
    for number in range(4):
        report.leave_out(LeftOut("models", f"id\x1b[31m{number}", Outcome.UNREADABLE, "odd"))
    assert [complaint.replace("\ufffd", "?") for complaint in complaints] == [
        "models id?[31m2: unreadable: odd",
        "models id?[31m3: unreadable: odd",
    ]
    text = shown(report)
    assert "2 more rows were left out" in text
    assert "\x1b" not in text
