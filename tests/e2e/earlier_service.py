"""A database of the earlier service, as Prisma made it, for tests to fill."""

from datetime import datetime
from functools import cache
from typing import Any
from uuid import uuid4

import asyncpg

from model_service.cli.earlier import earlier_database
from model_service.cli.import_earlier import take_over
from model_service.cli.import_report import Report
from model_service.kernel.secret import Secret
from model_service.service import Service
from model_service.vault.legacy import seal_legacy

SECRET = Secret("the earlier service's own secret")
NOON = datetime(2025, 3, 1, 12, 0, 0, 123000)  # noqa: DTZ001 - Prisma stores UTC without a zone

_DDL = """
    CREATE TYPE "Provider" AS ENUM
        ('OPENAI', 'ANTHROPIC', 'GOOGLE', 'AZURE', 'OLLAMA', 'CUSTOM', 'MISTRAL');

    CREATE TABLE "models" (
        "id" TEXT NOT NULL,
        "name" TEXT NOT NULL,
        "provider" "Provider" NOT NULL,
        "modelId" TEXT NOT NULL,
        "description" TEXT,
        "maxTokens" INTEGER NOT NULL DEFAULT 4096,
        "supportsStreaming" BOOLEAN NOT NULL DEFAULT true,
        "defaultTemperature" DOUBLE PRECISION,
        "rateLimitPerMinute" INTEGER,
        "rateLimitPerHour" INTEGER,
        "rateLimitPerDay" INTEGER,
        "inputCostPer1kTokens" DECIMAL(65,30),
        "outputCostPer1kTokens" DOUBLE PRECISION,
        "providerSettings" JSONB,
        "isActive" BOOLEAN NOT NULL DEFAULT true,
        "isDefault" BOOLEAN NOT NULL DEFAULT false,
        "metadata" JSONB,
        "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
        "updatedAt" TIMESTAMP(3) NOT NULL,
        CONSTRAINT "models_pkey" PRIMARY KEY ("id")
    );
    CREATE UNIQUE INDEX "models_name_key" ON "models"("name");

    CREATE TABLE "api_keys" (
        "id" TEXT NOT NULL,
        "userId" TEXT NOT NULL,
        "provider" "Provider" NOT NULL,
        "keyName" TEXT NOT NULL,
        "encryptedKey" TEXT NOT NULL,
        "keyPrefix" TEXT NOT NULL,
        "lastUsedAt" TIMESTAMP(3),
        "usageCount" INTEGER NOT NULL DEFAULT 0,
        "isActive" BOOLEAN NOT NULL DEFAULT true,
        "isValid" BOOLEAN NOT NULL DEFAULT true,
        "metadata" JSONB,
        "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
        "updatedAt" TIMESTAMP(3) NOT NULL,
        "expiresAt" TIMESTAMP(3),
        "validatedAt" TIMESTAMP(3),
        CONSTRAINT "api_keys_pkey" PRIMARY KEY ("id")
    );
    CREATE UNIQUE INDEX "api_keys_userId_provider_keyName_key"
        ON "api_keys"("userId", "provider", "keyName");
"""


@cache
def sealed(value: str) -> str:
    """A key as the earlier service stored it. Cached: each costs a scrypt."""
    return seal_legacy(SECRET, Secret(value))


class EarlierService:
    """The earlier service's database, to be filled."""

    def __init__(self, url: Secret[str], connection: Any) -> None:
        self.url = url
        self.connection = connection

    @classmethod
    async def create(cls, url: Secret[str], schema: str = "public") -> "EarlierService":
        connection = await asyncpg.connect(url.reveal())
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await connection.execute(f'SET search_path TO "{schema}"')
        await connection.execute(_DDL)
        return cls(url, connection)

    async def execute(self, statement: str) -> None:
        await self.connection.execute(statement)

    async def add_model(self, name: str, **columns: Any) -> str:
        given = {"name": name, "provider": "OPENAI", "modelId": "gpt-4o"}
        return await self._insert("models", given | columns)

    async def add_key(self, name: str, **columns: Any) -> str:
        given = {
            "userId": "ada",
            "provider": "OPENAI",
            "keyName": name,
            "encryptedKey": sealed("sk-earlier-0123456789abc"),
            "keyPrefix": "sk-earl",
        }
        return await self._insert("api_keys", given | columns)

    async def _insert(self, table: str, columns: dict[str, Any]) -> str:
        row = {"id": str(uuid4()), "updatedAt": NOON, "createdAt": NOON} | columns
        names = ", ".join(f'"{name}"' for name in row)
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self.connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({places})",  # noqa: S608 - our own names
            *row.values(),
        )
        return str(row["id"])


class Importer:
    """Imports into the service under test, in this process."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.warnings: list[str] = []

    async def __call__(
        self, source: Secret[str], *, secret: Secret[str] = SECRET, dry_run: bool = False
    ) -> Report:
        report = Report(self.warnings.append, dry_run=dry_run)
        async with earlier_database(source) as earlier:
            await take_over(earlier, self._service, secret, report)
        return report
