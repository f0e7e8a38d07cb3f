"""A worker process that knows nothing but limits: `limit_worker.py URL ORDERS`, orders in JSON.

It says `ready` once it is connected, does its calls when it reads a line, says what came of them
in one line of JSON, and ends at the next line; with `hold` it never settles what it reserved.
"""

import asyncio
import json
import sys
from collections import Counter
from typing import Any
from uuid import UUID

from model_service.db.engine import create_engine
from model_service.db.notices import Notices
from model_service.db.uow import Database
from model_service.gateway.limits import Limiter, Rates
from model_service.kernel.counting import RECALL_TOPIC
from model_service.kernel.secret import Secret
from model_service.providers.faults import CallFailed
from model_service.quotas.counters_store import SqlCounterStore
from model_service.quotas.store import SqlQuotaStore


class Model:
    """The model that all workers limit."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.id = UUID(orders["model_id"])
        self.name = "m"
        per_minute = orders.get("per_minute")
        self.rates = None if per_minute is None else Rates(per_minute=per_minute)


async def line() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


def say(what: str) -> None:
    print(what, flush=True)  # noqa: T201 - the parent process listens


async def main(url: Secret[str], orders: dict[str, Any]) -> None:
    database, notices = Database(create_engine(url)), Notices(url)
    limiter = Limiter(SqlCounterStore(database))
    limiter.set_quotas(await SqlQuotaStore(database).all())
    heard = asyncio.Event()

    async def on_recall(key: str | None) -> None:
        await limiter.on_recall(key)
        heard.set()

    notices.subscribe(RECALL_TOPIC, on_recall)
    jobs = [asyncio.create_task(notices.run()), asyncio.create_task(limiter.run())]
    await heard.wait()  # listening began
    limits = limiter.find("ann", None, Model(orders))
    assert limits is not None
    say("ready")
    await line()
    windows: Counter[int] = Counter()
    codes: Counter[str] = Counter()
    cost = orders.get("cost", 0)

    async def call() -> None:
        try:
            hold = await limiter.reserve(limits, 0, cost)
        except CallFailed as failed:
            codes[failed.fault.code or ""] += 1
            return
        leases = hold._leases
        assert leases is not None
        assert leases[0].opened is not None
        windows[leases[0].opened] += 1
        if not orders.get("hold"):
            await asyncio.sleep(0.01)
            hold.settle(1, 0, cost)

    await asyncio.gather(*(call() for _ in range(orders["calls"])))
    await limiter.flush()
    say(json.dumps({"windows": dict(windows), "codes": dict(codes)}))
    await line()
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(Secret(sys.argv[1]), json.loads(sys.argv[2])))
