"""What is PostgreSQL's alone: connections that are cut, passwords, several registries, rights."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from postgresql_server import PostgresqlServer

from dsvd_registry import Registry
from dsvd_registry.catalog import (
    ArchivedFile,
    CachedFingerprint,
    Catalog,
    FileState,
    ledger,
    rebuild,
)
from dsvd_registry.catalog import database as database_module
from dsvd_registry.errors import DsvdError, InvalidArgument, RegistryError, StorageError
from dsvd_registry.store import EventLog, RegistryFolder, registry_folder

from .conftest import Home, add_to
from .test_catalog_processes import check_against_log

Add = Callable[..., Any]
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
WRITERS, SECONDS = 16, 5.0


@pytest.fixture
def database() -> str:
    return "postgresql"


@pytest.mark.usefixtures("quick")
def test_connections_cut_under_sixteen_writers(home: Home) -> None:
    """Nothing that was reported is lost, no number is given twice, and nobody sees an error.

    Seen to fail without the second attempt in `Ledger.write` (errors), and with one more attempt after
    an event is written (versions that nobody was told of).
    """
    chance, all_open = random.Random(7), threading.Barrier(WRITERS + 1)

    def work(writer: int) -> dict[str, str]:
        reported = {}
        with home.open() as opened:
            all_open.wait()
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                container = f"{writer:032x}{len(reported):032x}"
                reported[add_to(opened, "subject", container=container).ref] = container
                assert opened.version("subject").number >= len(reported)
        return reported

    cuts = 0
    with ThreadPoolExecutor(WRITERS) as pool:
        working = [pool.submit(work, writer) for writer in range(WRITERS)]
        all_open.wait()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(chance.uniform(0, 0.1))
            cuts += len(home.run(f"{CUT} ORDER BY random() LIMIT 4"))
        results = [one.result() for one in working]
    reported = {ref: container for one in results for ref, container in one.items()}
    assert len(reported) == sum(map(len, results))
    assert cuts > WRITERS
    with home.open() as opened:
        assert check_against_log(home, opened) == reported
        assert opened.check_log() == len(reported) + 1  # the chain is whole


def test_a_connection_lost_before_the_event(home: Home, catalog: Catalog, add: Add) -> None:
    """The write is made again; the check before it, too."""
    calls = []

    def confirm() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            home.run(CUT)

    assert add("subject", confirm=confirm).ref == "subject@1"
    assert len(calls) == 2
    assert check_against_log(home, catalog).keys() == {"subject@1"}


@pytest.fixture
def when_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What happens when the next event is durable, before its transaction commits: connections end."""
    append, then = EventLog.append, [lambda: home.run(CUT)]

    def cutting(*arguments: Any) -> Any:
        written = append(*arguments)
        while then:
            then.pop(0)()
        return written

    monkeypatch.setattr(EventLog, "append", cutting)
    return then


def test_a_connection_lost_after_the_event(
    home: Home, catalog: Catalog, add: Add, when_written: list[Callable[[], object]]
) -> None:
    """The write is done, is not made again, and can be seen."""
    assert add("subject").ref == "subject@1"
    assert when_written == []
    assert catalog.version("subject").number == 1
    assert check_against_log(home, catalog).keys() == {"subject@1"}


def test_a_database_that_stays_away_after_the_event(
    home: Home,
    catalog: Catalog,
    add: Add,
    postgresql: PostgresqlServer,
    when_written: list[Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says that the change is made, and it shows when the database is back."""
    ((name,),) = home.run("SELECT current_database()")
    allow = f"ALTER DATABASE {name} ALLOW_CONNECTIONS"
    when_written.append(lambda: postgresql.run(f"{allow} false"))
    when_written.append(
        lambda: postgresql.run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
    )
    again = ledger.tried_again
    for module in (ledger, database_module):
        monkeypatch.setattr(module, "tried_again", lambda *a: again(*a, seconds=0.2))
    with pytest.raises(RegistryError, match="event 2 is written, but not shown yet") as caught:
        add("subject")
    assert "do not run the command again" in caught.value.hint
    with pytest.raises(RegistryError, match="not currently accepting connections") as caught:
        home.open()
    assert "Check that the database runs" in caught.value.hint
    postgresql.run(f"{allow} true")
    with home.open() as opened:
        assert check_against_log(home, opened).keys() == {"subject@1"}


def test_a_connection_that_ended_while_it_was_not_used(home: Home, catalog: Catalog) -> None:
    assert len(catalog.bases()) == 1
    home.run(CUT)
    with catalog.writes_blocked() as needed:
        assert needed == {"1" * 64, "2" * 64}


def test_who_waits_for_the_lock_gives_up(home: Home, catalog: Catalog, add: Add) -> None:
    """The real wait is a minute; here the database is told to make it short."""
    with catalog._database.writing(), home.open() as other:
        with other._database.reading() as connection:
            connection.execute("SELECT set_config('lock_timeout', '50ms', false)")
        with pytest.raises(RegistryError, match="locked by another process") as caught:
            other.remove_base("sd15")
        assert "when the other one has finished" in caught.value.hint
        assert len(other.bases()) == 1  # nobody waits for it to read
    catalog.remove_base("sd15")


def test_a_password_is_shown_nowhere(
    home: Home, postgresql: PostgresqlServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the right one, while all goes well, nor a wrong one in an error or its causes."""
    ((name,),) = home.run("SELECT current_database()")
    right = postgresql.url_over_tcp(name, postgresql.password)
    with Catalog.open(home.registry, right) as opened:
        add_to(opened, "subject")
        assert postgresql.password not in opened._database.where
    inside = "".join(
        path.read_text("utf-8", "replace") for path in home.registry.root.rglob("*.json")
    )
    assert postgresql.password not in inside
    query = f"postgresql://dsvd@127.0.0.1:{postgresql.port}/{name}?password=wrong-pass-7"
    for url in (postgresql.url_over_tcp(name, "wrong-pass-7"), query):
        with pytest.raises(RegistryError, match="password authentication failed") as caught:
            Catalog.open(home.registry, url)
        error: BaseException | None = caught.value
        while error is not None:
            assert "wrong-pass-7" not in f"{error} {getattr(error, 'hint', '')}"
            error = error.__cause__ or error.__context__
    assert postgresql.password not in "".join(capfd.readouterr())


def test_the_catalog_of_another_registry(home: Home, catalog: Catalog, tmp_path: Path) -> None:
    """Nothing of it is changed, and no registry is made for it. Seen to fail without `first`."""
    before = home.dump()
    other = registry_folder.create(tmp_path / "other")
    with Catalog.open(other) as opened:
        opened.add_base(
            "sd14", digest="d" * 64, manifest="3" * 64, file="4" * 64, size=5, format="pickle"
        )
    calls: tuple[Callable[[], object], ...] = (
        lambda: Catalog.open(other, home.url),
        lambda: rebuild(other, home.url),
        lambda: Registry.init(tmp_path / "new", catalog=home.url),
    )
    for call in calls:
        with pytest.raises(RegistryError, match="has the catalog of another registry") as caught:
            call()
        assert "search_path" in caught.value.hint
    assert not (tmp_path / "new").exists()
    assert home.dump() == before


def test_registries_in_schemas_of_one_database(
    home: Home, catalog: Catalog, tmp_path: Path
) -> None:
    """Each has its tables and its lock."""
    before = home.dump()
    url = f"{home.url}&options=-csearch_path%3Dstudio"
    other = registry_folder.create(tmp_path / "other")
    with pytest.raises(InvalidArgument, match="no schema of its search path exists") as caught:
        Catalog.open(other, url)
    assert "CREATE SCHEMA" in caught.value.hint
    home.run("CREATE SCHEMA studio")
    with catalog._database.writing(), Catalog.open(other, url) as opened:
        opened.add_base(
            "sd14", digest="d" * 64, manifest="3" * 64, file="4" * 64, size=5, format="pickle"
        )
        assert [base.name for base in opened.bases()] == ["sd14"]
    assert home.run("SELECT name FROM studio.bases") == [("sd14",)]
    assert home.dump() == before


def test_who_may_only_read(
    home: Home, catalog: Catalog, add: Add, postgresql: PostgresqlServer
) -> None:
    add("subject")
    ((name,),) = home.run("SELECT current_database()")
    home.run(f"CREATE ROLE guest_{name} LOGIN")
    home.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest_{name}")
    try:
        url = postgresql.url(name).replace("//dsvd@", f"//guest_{name}@")
        with Catalog.open(home.registry, url) as opened:
            assert opened.version("subject").number == 1
            with pytest.raises(StorageError, match="permission denied") as caught:
                add_to(opened, "subject")
            assert "GRANT" in caught.value.hint
    finally:
        home.run(f"DROP OWNED BY guest_{name}")
        home.run(f"DROP ROLE guest_{name}")
    assert check_against_log(home, catalog).keys() == {"subject@1"}


def test_a_database_that_cannot_hold_every_text(
    registry: RegistryFolder, postgresql: PostgresqlServer
) -> None:
    more = "ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'"
    with (
        postgresql.database(more=more) as name,
        pytest.raises(InvalidArgument, match="its encoding is LATIN1") as caught,
    ):
        Catalog.open(registry, postgresql.url(name))
    assert "UTF8" in caught.value.hint


def test_nobody_answers(registry: RegistryFolder, tmp_path: Path) -> None:
    with pytest.raises(DsvdError, match="failed") as caught:
        Catalog.open(registry, f"postgresql://me@/x?host={tmp_path}")
    assert caught.value.exit_code == RegistryError.exit_code
    assert "Check that the database runs" in caught.value.hint


def test_a_long_path_is_a_key(catalog: Catalog, add: Add) -> None:
    """One that cannot be compressed, and is longer than an index of PostgreSQL takes."""
    chance = random.Random(1)
    path = Path("/" + "".join(chance.choices("abcdefghijklmnopqrstuvwxyzäöü/0123456789", k=4000)))
    digests = {"source": {str(path): {"sha256": "c" * 64}}}
    add("subject", digests=digests)
    catalog.archive_file(ArchivedFile(path, "subject", 1, 5, 0o644, None))
    state = FileState(path, 1, 2, 3)
    catalog.remember_fingerprint(state, CachedFingerprint("a" * 64, None))
    assert [file.path for file in catalog.archived_files()] == [path]
    assert catalog.cached_fingerprint(state) == CachedFingerprint("a" * 64, None)
    assert catalog.find_digest("c" * 64)[-1].path == str(path)


def test_threads_share_a_catalog(catalog: Catalog, add: Add) -> None:
    """More of them than it keeps connections: they wait for one, and nobody fails."""
    add("subject")
    barrier = threading.Barrier(30)

    def read(_: int) -> int:
        barrier.wait()
        return catalog.version("subject").number

    with ThreadPoolExecutor(30) as pool:
        assert set(pool.map(read, range(30))) == {1}
