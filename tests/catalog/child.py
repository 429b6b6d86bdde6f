"""A process of its own that writes to a registry: `child.py ROOT URL MODEL COUNT [KILL]`.

URL is that of its catalog, or empty. Prints each ref once its version is reported. KILL is the step at
which the process kills itself while it adds the version after the COUNT-th: "event" (the event is not
there yet), "rows" (the event is durable, the rows are not committed).
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from dsvd_registry.catalog import Catalog, Source
from dsvd_registry.catalog.sqlite import SqliteDatabase
from dsvd_registry.store import EventLog, registry_folder


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_commit(catalog: Catalog) -> None:
    database = catalog._database
    if isinstance(database, SqliteDatabase):
        (connection,) = database._idle
        connection.set_trace_callback(lambda said: said == "COMMIT" and die())
    else:
        from sqlalchemy import event

        event.listen(database.engine, "commit", die)  # type: ignore[attr-defined]


def main(root: str, url: str, model: str, count: str, kill: str = "") -> None:
    with Catalog.open(registry_folder.open(Path(root)), url or None) as catalog:
        for number in range(int(count) + bool(kill)):
            if number == int(count) and kill == "event":
                EventLog.append = die  # type: ignore[method-assign]
            if number == int(count) and kill == "rows":
                die_before_commit(catalog)
            version = catalog.add_version(
                model,
                container=f"{os.getpid():032x}{number:032x}",
                size=1,
                base="b" * 64,
                source=Source("safetensors", f"{number:064x}", 1),
                settings="{}",
                summary={},
            )
            sys.stdout.write(f"{version.ref} {version.container}\n")
            sys.stdout.flush()
            time.sleep(random.uniform(0, 0.01))  # SQLite's lock is not fair: let others have it


if __name__ == "__main__":
    main(*sys.argv[1:])
