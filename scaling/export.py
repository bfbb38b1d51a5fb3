"""Export a trained network as a folder that plain `transformers` loads.

python -m scaling.export --checkpoint results/daily/threshold_1pct/2m.ckpt --to exported/2m
"""

import argparse
from pathlib import Path

from scaling.errors import run_command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scaling.export", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--checkpoint", type=Path, required=True, help="its mean weights are taken")
    parser.add_argument("--to", type=Path, required=True, help="a folder that does not exist yet")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Refuse what is no sound checkpoint, write the folder, say what is in it."""
    arguments = _parser().parse_args(argv)

    from scaling.judging.evaluation import load_trained
    from scaling.judging.hugging_face import LOADED, evaluation_beside, write_folder

    trained = load_trained(arguments.checkpoint)
    evaluation = evaluation_beside(trained)
    write_folder(trained, evaluation, arguments.to)
    if evaluation is None:
        wanted = arguments.checkpoint.with_suffix(".eval.json")
        print(f"the card has no test figures: there is no {wanted}")
    print(
        f"made {arguments.to}: {trained.record['parameters']:,} parameters, normaliser, card\n"
        f'next: {LOADED[trained.run.settings["family"]].name}.from_pretrained("{arguments.to}")'
    )


if __name__ == "__main__":
    run_command(main)
