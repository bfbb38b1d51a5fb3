"""Forecast with trained networks: the latest registered day, or the last ones.

python -m scaling.predict --checkpoint results/daily/threshold_1pct/2m.ckpt
python -m scaling.predict --config configs/daily/sp500_walk.yaml
python -m scaling.predict --last 20 --csv \\
    --checkpoint results/daily/threshold_1pct/2m.ckpt results/daily/threshold_1pct/2m.seed43.ckpt
"""

import argparse
import json
import sys
from pathlib import Path

from scaling.config import load_config
from scaling.errors import UserError, run_command
from scaling.identities import newest_of
from scaling.names import artefact, experiment_name, experiment_path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scaling.predict", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add(
        "--checkpoint",
        type=Path,
        nargs="+",
        help="one network, or several seeds of one size, whose mean probability is the forecast "
        "(default: that of --config, in a walk of the newest fold)",
    )
    add("--config", type=Path, help="default: the experiment that the checkpoint names")
    add("--last", type=int, default=1, help="how many of the latest days (default: 1)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all that is known, as one JSON object")
    form.add_argument("--csv", action="store_true", help="one row for each day")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Refuse networks that do not belong to the config and the data, forecast, print."""
    arguments = _parser().parse_args(argv)
    checkpoints = arguments.checkpoint or [_own_checkpoint(arguments.config)]

    from scaling.judging.forecast import make_forecast, read_networks

    networks = read_networks(checkpoints)
    config = arguments.config or experiment_path(networks[0].run.experiment)
    if not config.is_file():
        raise UserError(f"{config}: no such file; name the networks' experiment with --config")
    forecast = make_forecast(networks, config, arguments.last)
    if arguments.json:
        print(json.dumps(forecast.as_json(), indent=2, default=str))
    elif arguments.csv:
        import pandas as pd

        pd.DataFrame(forecast.rows()).to_csv(sys.stdout, index=False)
    else:
        print("\n".join(forecast.as_lines()))


def _own_checkpoint(path: Path | None) -> Path:
    """The network that an experiment asks for, as the workflow names its file."""
    if path is None:
        raise UserError(
            "got neither --checkpoint nor --config; allowed: networks, or an experiment, such as "
            "--config configs/daily/threshold_1pct.yaml"
        )
    config = load_config(path)
    return artefact(experiment_name(path), newest_of(config).written(config.seed), "ckpt")


if __name__ == "__main__":
    run_command(main)
