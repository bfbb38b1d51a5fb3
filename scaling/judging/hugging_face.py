"""A trained network as a folder that plain `transformers` loads, with a card that says what it is.

The folder holds `config.json`, `model.safetensors`, `normaliser.json` (feature names, mean and
standard deviation), `record.json` (the run record) and `README.md` (the card).
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import transformers
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scaling.config import DataConfig, MarketsConfig, TaskConfig, WindowConfig
from scaling.data.features import rows_md5
from scaling.errors import UserError
from scaling.judging.evaluation import Trained, load_weights
from scaling.judging.run_files import require_one_training
from scaling.names import EXTERNAL
from scaling.reading import build
from scaling.record import file_md5, provenance, read_json, write_json
from scaling.registry import registered_entry
from scaling.run import Run
from scaling.sizes import FAMILIES
from scaling.training.model import build_model

RECORD, NORMALISER, CARD = "record.json", "normaliser.json", "README.md"


class Loaded(NamedTuple):
    """What `transformers` makes of an export: a class, and the name of the logit in its output."""

    name: str
    output: str


LOADED = {
    "patchtst": Loaded("PatchTSTForClassification", "prediction_logits"),
    "patchtsmixer": Loaded("PatchTSMixerForTimeSeriesClassification", "prediction_outputs"),
}


def write_folder(trained: Trained, evaluation: Mapping[str, Any] | None, folder: Path) -> None:
    """Write a network to `folder`.

    Raises `UserError` if the folder exists and is no export of the same checkpoint. An export of
    the same one gets its files anew, one by one, and keeps what else lies there.
    """
    path, content, record, run = trained
    family = run.settings["family"]
    if family not in LOADED:
        raise UserError(
            f"{path}: is a {family}; allowed: {', '.join(LOADED)}, whose classes in transformers "
            "give the logit that was trained"
        )
    digest = file_md5(path)
    exists = folder.exists()
    if exists:
        _refuse_other_folder(folder, digest)
    window = build(WindowConfig, dict(run.settings["window"]), path)
    shape = build(FAMILIES[family], dict(run.model), path)
    built = build_model(shape, window, len(record["feature_names"]))
    model = getattr(transformers, LOADED[family].name)(built.config)
    load_weights(model, content["weights"], path)
    normaliser = {name: content["normaliser"][name].tolist() for name in ("mean", "std")}
    with _complete_folder(folder, exists) as made:
        model.save_pretrained(made)
        write_json(made / NORMALISER, {"feature_names": record["feature_names"], **normaliser})
        (made / CARD).write_text(model_card(trained, evaluation))
        exported = {"kind": "export", "checkpoint_md5": digest, "training": record}
        write_json(made / RECORD, {**exported, **provenance()})


def evaluation_beside(trained: Trained) -> dict[str, Any] | None:
    """The evaluation beside a checkpoint, or None if there is none; another's is a `UserError`."""
    beside = trained.path.with_suffix(".eval.json")
    if not beside.is_file():
        return None
    evaluation: dict[str, Any] = read_json(beside)
    predictions = {str(evaluation.get("predictions_md5"))}  # they may lie elsewhere
    require_one_training(trained.record, evaluation, trained.path, predictions)
    return evaluation


def model_card(trained: Trained, evaluation: Mapping[str, Any] | None) -> str:
    """The card in Markdown; without an evaluation it says that there are no test figures."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    record, run = trained.record, trained.run
    data = _data_of(run)
    checks = (evaluation or {}).get("checks", ())
    origin, licence = _origins_and_licences(data, run)
    return environment.get_template("model_card.md").render(
        record=record,
        run=run,
        evaluation=evaluation,
        failed=[check for check in checks if check["passed"] is False],
        passed=[check for check in checks if check["passed"] is True],
        loaded=LOADED[run.settings["family"]],
        event=TaskConfig(**run.settings["task"]).question(),
        tier=None if data.tier == EXTERNAL else data.tier,
        prices=", ".join(f"`{market.prices}`" for market in data.markets),
        markets="one market" if len(data.markets) == 1 else f"{len(data.markets)} markets",
        origin=origin,
        data_licence=licence,
    )


def _data_of(run: Run) -> DataConfig | MarketsConfig:
    given = dict(run.settings["data"])
    if "assets" in given:
        return build(MarketsConfig, given, Path(RECORD))
    return build(DataConfig, given, Path(RECORD))


def _origins_and_licences(data: DataConfig | MarketsConfig, run: Run) -> tuple[str, str]:
    """What the manifest says of the prices of each market, each thing once.

    It registers whole files. Of a fold, the file on disk must have the rows that the fold saw.
    """
    found = []
    for market, md5 in zip(data.markets, str(run.prices).split(", "), strict=True):
        if run.name.origin is not None and market.prices.is_file():
            last = date.fromisoformat(run.settings["splits"]["test"][1])
            same = rows_md5(market.prices, last) == md5
            md5 = file_md5(market.prices) if same else md5
        found.append(_origin_and_licence(market.prices, data.manifest, md5))
    origins, licences = (list(dict.fromkeys(said)) for said in zip(*found, strict=True))
    return "; ".join(origins), ", ".join(licences)


def _origin_and_licence(prices: Path, manifest: Path, md5: str) -> tuple[str, str]:
    """What the manifest says of the prices of the training; it may know only later ones."""
    entry = registered_entry(prices, manifest)
    if entry is None or entry["hash"] != f"md5:{md5}":
        unknown = f"not known: {manifest} no longer registers these prices"
        return unknown, unknown
    origin = "; ".join(source["title"] for source in entry.get("sources", ()))
    licence = ", ".join(licence["name"] for licence in entry.get("licenses", ()))
    return origin or "not stated in the manifest", licence or "not stated in the manifest"


def _refuse_other_folder(folder: Path, digest: str) -> None:
    record = folder / RECORD
    found = read_json(record) if record.is_file() else None
    if not isinstance(found, dict) or found.get("checkpoint_md5") != digest:
        raise UserError(
            f"{folder}: exists and is no export of this checkpoint; give --to a new folder"
        )


@contextmanager
def _complete_folder(folder: Path, exists: bool) -> Iterator[Path]:
    """A folder to write to, which takes its name only when it is complete and on the disk."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = folder.parent / f".{folder.name}.{os.getpid()}"
    try:
        made.mkdir()
        yield made
        for file in made.iterdir():
            _sync(file)
        _sync(made)
        if exists:
            for file in made.iterdir():
                os.replace(file, folder / file.name)
        else:
            os.rename(made, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
