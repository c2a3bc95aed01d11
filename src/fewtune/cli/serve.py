"""serve, keys, backup, restore: the service, and what looks after it."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fewtune.cli import options

if TYPE_CHECKING:
    from fewtune.service.starting import Prepared
    from fewtune.store.service_backup import BackupRecord

keys_app = typer.Typer(
    help="Keys of the service: make, list, revoke.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)

Folder = Annotated[
    Path | None, typer.Option("--folder", help="All that the service keeps; default: service, below FEWTUNE_HOME.")
]
Database = Annotated[
    str | None,
    typer.Option("--database", help="postgresql://… in place of SQLite in the folder; also FEWTUNE_DATABASE_URL."),
]
Bases = Annotated[
    list[str] | None,
    typer.Option("--base", help="A base that may be tuned, as for run; may be repeated, the first is the default."),
]
Aliases = Annotated[
    list[str] | None,
    typer.Option("--alias", metavar="NAME=BASE", help="Let NAME in a request mean BASE; may be repeated."),
]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option("--allowed-host", help="Name or address that clients reach this by; may be repeated."),
]
AllowedOrigins = Annotated[
    list[str] | None,
    typer.Option("--allowed-origin", help="Origin of web pages that may call, as in https://a.example; repeat."),
]


def register(app: typer.Typer) -> None:
    app.command()(serve)
    app.add_typer(keys_app, name="keys")
    app.command()(backup)
    app.command()(restore)


def serve(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Finished runs to serve under their ids, or `last`.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 takes a free one.", min=0, max=65535)] = 8484,
    workers: Annotated[int, typer.Option("--workers", help="Processes that train and answer.", min=1, max=64)] = 1,
    base: Bases = None,
    alias: Aliases = None,
    aliases: Annotated[
        bool, typer.Option("--aliases/--no-aliases", help="Let the names of models that OpenAI tunes mean --base.")
    ] = True,
    provider: Annotated[
        str | None, typer.Option("--provider", help="local, or fake: instant, and trains nothing.")
    ] = None,
    folder: Folder = None,
    database: Database = None,
    allowed_host: AllowedHosts = None,
    allowed_origin: AllowedOrigins = None,
    base64_results: Annotated[
        bool, typer.Option("--base64-results", help="Give result files in base64, as older scripts expect.")
    ] = False,
    conformance: Annotated[
        bool, typer.Option("--conformance", help="Keep the rows that the tests of OpenAI's own client ask for.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line when it listens: address, key, ...")
    ] = False,
) -> None:
    """OpenAI's fine-tuning and chat API on this machine: scripts go on with another address and key."""
    from fewtune.service import starting
    from fewtune.service.logs import log_to_stderr
    from fewtune.service.supervisor import Supervisor

    wishes = starting.Wishes(
        host=host,
        port=port,
        workers=workers,
        bases=tuple(base or ()),
        aliases=tuple(alias or ()),
        openai_names=aliases,
        provider=provider,
        folder=folder,
        database=database,
        allowed_hosts=tuple(allowed_host or ()),
        allowed_origins=tuple(allowed_origin or ()),
        base64_results=base64_results,
        conformance=conformance,
    )
    prepared = starting.prepare(wishes, runs or ())
    log_to_stderr("supervisor")
    with prepared.listening:
        Supervisor(prepared.settings, prepared.listening, ready=lambda: _tell(prepared, json)).run()


def _tell(prepared: Prepared, as_json: bool) -> None:
    """Where it listens, and what a script has to be told."""
    if as_json:
        print(dumps({"schema_version": 1, **prepared.to_json()}), flush=True)
        return
    address = prepared.address
    print(f"Serving {', '.join(prepared.models)} at {address}\n")
    print(f"    export OPENAI_BASE_URL={address}")
    print(f"    export OPENAI_API_KEY={prepared.key or '...'}")
    print("    python your_script.py\n")
    if prepared.key:
        print("The key is shown only now. Another one is made with: fewtune keys create NAME")
    else:
        print("The keys are those of before. Another one is made with: fewtune keys create NAME")
    print("Stop with Ctrl-C: jobs go on at the next start.", flush=True)


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="To know it by, in lists and to revoke it.")],
    project: Annotated[
        str, typer.Option("--project", help="It sees what belongs to this, and nothing else.")
    ] = "default",
    admin: Annotated[bool, typer.Option("--admin", help="May also share checkpoints between projects.")] = False,
    folder: Folder = None,
    database: Database = None,
    json: options.Json = False,
) -> None:
    """Make a key and print it; it is not stored, so it cannot be shown again."""
    from dataclasses import asdict

    from fewtune.cli.show import print_json
    from fewtune.service import starting

    record, secret = starting.open_keys(folder, database).create(name, project, admin=admin)
    if json:
        print_json({"schema_version": 1, "key": {**asdict(record), "secret": secret}})
    else:
        print(secret)


@keys_app.command("list")
def list_(folder: Folder = None, database: Database = None, json: options.Json = False) -> None:
    """Every key: its name, project, hint, and when it was used."""
    from dataclasses import asdict

    from fewtune.cli.listing import show_keys
    from fewtune.cli.show import print_json
    from fewtune.service import starting

    records = starting.open_keys(folder, database).list()
    if json:
        print_json({"schema_version": 1, "keys": [asdict(one) for one in records]})
    else:
        show_keys(records)


@keys_app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name or id of the key.")],
    folder: Folder = None,
    database: Database = None,
) -> None:
    """End a key: from now on it is refused, by a running service too."""
    from fewtune.service import starting

    record = starting.open_keys(folder, database).revoke(name)
    print(f"Revoked {record.name} ({record.hint}).")


def backup(
    file: Annotated[Path, typer.Argument(help="Tar file to be made.")],
    folder: Folder = None,
    json: options.Json = False,
) -> None:
    """Write all that the service keeps into one file; it may run meanwhile."""
    from fewtune.service import starting

    _show_backup(starting.back_up(folder, file), f"Written to {file}", json)


def restore(
    file: Annotated[Path, typer.Argument(help="What `fewtune backup` made.")],
    folder: Folder = None,
    json: options.Json = False,
) -> None:
    """Put a backup back, into a folder that is empty or not there."""
    from fewtune.service import starting
    from fewtune.store.service_backup import restore as put_back

    place = starting.service_folder(folder)
    _show_backup(put_back(file, place), f"Restored to {place}", json)


def _show_backup(record: BackupRecord, where: str, as_json: bool) -> None:
    from dataclasses import asdict

    from fewtune.cli.show import print_json

    if as_json:
        print_json({"schema_version": 1, **asdict(record)})
        return
    print(f"{where}: {record.files:,} files, {record.bytes:,} bytes.")
    for name in record.left_out:
        print(f"Not in it, as it was deleted meanwhile: {name}")
