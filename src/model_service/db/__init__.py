"""PostgreSQL: connection, tables, transactions, migrations and the embedded server."""
