"""The registered data files and their MD5s: nothing trains on numbers that nobody registered.

The manifest is a Frictionless Data Package (https://datapackage.org), which other tools can read.
The standard allows further keys. Ours are `rows`, `first_date`, `last_date`, and what the user said
of the prices (`FACTS`): `adjusted` (for dividends?), `calendar` (on which days there are rows, see
`scaling.data.calendars`) and `allowed` (implausible findings that are known to be true, see
`scaling.data.plausibility`). This module imports no pandas, because the Snakefile may import it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.config import Market, TrainingConfig
from scaling.digest import features_digest
from scaling.errors import UserError
from scaling.names import EXTERNAL, tier_named
from scaling.record import file_md5, read_json, write_json
from scaling.registry import read_manifest, registered_entry
from scaling.run import difference, said

PROFILE = "https://datapackage.org/profiles/2.0/datapackage.json"
# What holds of prices whose entry does not say otherwise.
FACTS: dict[str, Any] = {"adjusted": False, "calendar": "weekdays", "allowed": []}


def facts_of(path: str | Path, manifest: str | Path) -> dict[str, Any]:
    """What the manifest says of the prices at `path`, by the keys of `FACTS`."""
    entry = registered_entry(path, manifest) or {}
    return {key: entry.get(key, usual) for key, usual in FACTS.items()}


def registered_md5(path: str | Path, manifest: str | Path) -> str | None:
    """The MD5 that the manifest holds for `path`, or None if the file is not registered."""
    entry = registered_entry(path, manifest)
    if entry is None:
        return None
    match = re.fullmatch(r"md5:([0-9a-f]{32})", entry["hash"])
    if match is None:
        raise UserError(
            f"{manifest}: hash of {entry['path']} is {entry['hash']!r}; allowed: md5: and 32 hex "
            f"digits; restore it with: git checkout -- {manifest}"
        )
    return match[1]


def registered_data(config: TrainingConfig) -> tuple[str | None, str | None]:
    """The MD5s that `verified_data` will find, as manifest and records say it; no data are read.

    None where that is not known yet, as of features that have not been built.
    """
    manifest = config.data.manifest
    prices = [registered_md5(market.prices, manifest) for market in config.data.markets]
    features = [recorded_features(market, manifest) for market in config.data.markets]
    joined = (", ".join(map(str, found)) if all(found) else None for found in (prices, features))
    return next(joined), next(joined)


def stamped_data(stamp: Path) -> tuple[str | None, str | None]:
    """The MD5s that `verified_data` found when the stamp of a fold was written; None before that.

    The manifest cannot say them, because it knows whole files.
    """
    if not stamp.is_file():
        return None, None
    digests = [line.partition(" ")[0] for line in stamp.read_text().splitlines()]
    return ", ".join(digests[::2]), ", ".join(digests[1::2])


def recorded_features(market: Market, manifest: Path) -> str | None:
    """The MD5 of features that prices and code of now would give, or None if nobody knows it."""
    if tier_named(market.features) == EXTERNAL:
        return registered_md5(market.features, manifest)
    record = market.features.with_suffix(".json")
    if not record.is_file() or outdated_features(record, market.prices, manifest):
        return None
    return str(read_json(record)["features_md5"])


def outdated_features(record: Path, prices: Path, manifest: Path) -> str:
    """Why features would be built otherwise now, as their record says; empty if they would not."""
    now = {
        "prices_md5": registered_md5(prices, manifest),
        "calendar": facts_of(prices, manifest)["calendar"],
        "code_digest": features_digest(tier_named(record.with_suffix(".parquet"))),
    }
    made = read_json(record)
    return said(difference({key: made.get(key, "nothing") for key in now}, now))


def verify(path: str | Path, manifest: str | Path, command: str | None = None) -> str:
    """Check that a data file has the MD5 registered in `manifest`, and return it.

    `command` registers such a file; by default it is the one for prices. Raises `UserError` when
    the file is missing, not registered, or differs. An altered price would otherwise retrain
    everything on numbers that no record names.
    """
    path, manifest = Path(path), Path(manifest)
    expected = registered_md5(path, manifest)
    command = command or (
        f"python -m scaling.fetch {path.stem} --source file {path} --output {path} "
        f"--manifest {manifest}"
    )
    if expected is None:
        raise UserError(f"{path}: not registered in {manifest}; register it with: {command}")
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, {manifest} expects MD5 {expected}; "
            f"restore it with: git checkout -- {path}"
        )
    found = file_md5(path)
    if found != expected:
        raise UserError(
            f"{path}: MD5 is {found}, {manifest} registers {expected}; restore the file with: "
            f"git checkout -- {path} | or, if the change is meant, register it with: "
            f"{command} --replace"
        )
    return found


def resource_path(path: str | Path, manifest: str | Path) -> str:
    """Return `path` as the manifest writes it: relative to the manifest's directory.

    Raises `UserError` for a path outside that directory, because the Data Package standard allows
    neither absolute paths nor `..`. Raises it too for a path with characters that a shell might
    interpret.
    """
    path, directory = Path(path), Path(manifest).parent
    try:
        relative = path.resolve().relative_to(directory.resolve()).as_posix()
    except ValueError:
        raise UserError(
            f"{path}: lies outside {directory}; a manifest holds only files beside or below "
            f"itself: give --output below {directory}, or another --manifest"
        ) from None
    if not re.fullmatch(r"[A-Za-z0-9_./-]+", relative):
        raise UserError(
            f"{relative!r}: allowed in the path of a data file: letters, digits, _ . - and /; "
            "give a name such as --output data/raw/SP500.parquet"
        )
    return relative


def register(
    path: str | Path,
    manifest: str | Path,
    *,
    rows: int,
    first_date: str,
    last_date: str,
    origin: str | None,
    licence: str | None = None,
    columns: Sequence[str] = ("open", "high", "low", "close", "volume"),
    adjusted: bool = False,
    calendar: str = "weekdays",
    allowed: Sequence[Mapping[str, str]] = (),
) -> str:
    """Register a price file as it is on disk now, replacing its former entry; return its MD5.

    `origin` says where the numbers come from and `licence` is an SPDX identifier; without `origin`
    the former entry's origin and licence stand. `columns` are those of the file, `adjusted` says
    whether the prices are adjusted for dividends, and `calendar` on which days there are rows.
    `allowed` lists the findings that are known to be true (see
    `scaling.data.plausibility.unexplained`). Raises `UserError` for a file outside the manifest's
    directory.
    """
    said = {
        "rows": rows,
        "first_date": first_date,
        "last_date": last_date,
        "adjusted": adjusted,
        "calendar": calendar,
        "allowed": [dict(item) for item in allowed],
        "schema": _schema(columns),
    }
    if origin is not None:
        said["sources"] = [{"title": origin}]
    elif former := registered_entry(path, manifest) if Path(manifest).exists() else None:
        said |= {key: former[key] for key in ("sources", "licenses") if key in former}
    if licence is not None:
        said["licenses"] = [{"name": licence}]
    return _enter(Path(path), Path(manifest), said)


def register_features(path: Path, manifest: Path, table: Any, origin: str | None) -> str:
    """Register a table [days, features] that was made elsewhere, as it is on disk; return its MD5.

    Without an `origin` that of its former entry stays, or else the file's name stands. Raises
    `UserError` for a file outside the manifest's directory.
    """
    former = registered_entry(path, manifest) or {}
    known = former.get("sources", [{"title": path.name}])
    said = {
        "rows": len(table),
        "first_date": str(table.index[0])[:10],
        "last_date": str(table.index[-1])[:10],
        "schema": _schema(table.columns),
        "sources": known if origin is None else [{"title": origin}],
    }
    return _enter(path, manifest, said)


def _schema(columns: Sequence[str]) -> dict[str, Any]:
    kinds = {name: "integer" if name == "volume" else "number" for name in columns}
    fields = {"date": "datetime", **kinds}
    return {
        "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
        "primaryKey": ["date"],
    }


def _enter(path: Path, manifest: Path, said: Mapping[str, Any]) -> str:
    """Write what is `said` of a file, and its bytes and MD5, in place of its former entry."""
    relative = resource_path(path, manifest)
    content: dict[str, Any] = {"$schema": PROFILE, "name": "market-prices", "resources": []}
    if manifest.exists():
        content = read_manifest(manifest)
    contents = path.read_bytes()
    md5 = hashlib.md5(contents, usedforsecurity=False).hexdigest()
    entry = {
        "name": re.sub(r"[^a-z0-9._-]", "-", path.stem.lower()),
        "path": relative,
        "format": "parquet",
        "mediatype": "application/vnd.apache.parquet",
        "bytes": len(contents),
        "hash": f"md5:{md5}",
        **said,
    }
    others = [r for r in content["resources"] if r["path"] != relative]
    content["resources"] = sorted([*others, entry], key=lambda r: str(r["path"]))
    write_json(manifest, content)
    return md5
