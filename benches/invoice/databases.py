"""Creates a PostgreSQL database for a run, and copies its ledger to SQLite."""

import csv
import io
import pathlib
import sqlite3
import subprocess

TABLES = {"runs": "id", "attempts": "ended_us, run, seq", "device_minutes": "start_s, run"}
SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "crates/ledger/src/schema"
APPLICATION_ID = 0x46525448
NULL = "\x01"


def new_database(server: str) -> str:
    """Creates an empty database on the server and returns its URL."""
    sql(server, "DROP DATABASE IF EXISTS farthing_invoice WITH (FORCE)")
    sql(server, "CREATE DATABASE farthing_invoice")
    base, _, options = server.partition("?")
    return f"{base.rsplit('/', 1)[0]}/farthing_invoice" + (f"?{options}" if options else "")


def copy_of(url: str, path: pathlib.Path) -> str:
    """Creates a SQLite ledger with the same rows as the PostgreSQL ledger."""
    with sqlite3.connect(path) as copy:
        migrations = sorted(SCHEMA.glob("*.sqlite.sql"), key=lambda path: int(path.name.split(".")[0]))
        for migration in migrations:
            copy.executescript(migration.read_text())
        copy.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        copy.execute(f"PRAGMA user_version = {len(migrations)}")
        for table, order in TABLES.items():
            query = f"SELECT * FROM farthing.{table} ORDER BY {order}"
            text = sql(url, f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER, NULL '{NULL}')")
            names, *rows = csv.reader(io.StringIO(text))
            columns, places = ", ".join(names), ", ".join("?" * len(names))
            insert = f"INSERT INTO {table} ({columns}) VALUES ({places})"
            copy.executemany(insert, ([None if v == NULL else v for v in row] for row in rows))
    return str(path)


def sql(url: str, statement: str) -> str:
    """Runs psql and returns its output."""
    done = subprocess.run(
        ["psql", url, "--quiet", "--command", statement],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout
