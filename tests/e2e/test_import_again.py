"""Importing once more: what is here already says that the secret is right."""

from tests.e2e.earlier_service import EarlierService, Importer
from tests.e2e.test_import_rows import shown


async def test_keys_that_are_there_clear_the_secret_of_suspicion(
    earlier: EarlierService, importer: Importer
) -> None:
    await earlier.add_key("good")
    await earlier.add_key("bad", encryptedKey="?")
    first = await importer(earlier.url)
    again = await importer(earlier.url)
    assert first.status == again.status == 3
    for report in (first, again):
        assert "secret-file" not in shown(report)
