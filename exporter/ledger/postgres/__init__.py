"""The ledger in a schema of a PostgreSQL database.

Nothing outside this package imports `psycopg`, which is there with the extra `postgres` only.
"""
