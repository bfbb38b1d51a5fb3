"""The page of somebody else's ladder: what prediction rows alone can show, on `ladder.html`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scaling.figures.gallery import draw_forecasts
from scaling.figures.page import mean_scores, render, words
from scaling.figures.svg import to_svg
from scaling.metrics import score


def ladder_page(law: Mapping[str, Any], networks: pd.DataFrame, baselines: pd.DataFrame) -> str:
    """The whole page of a `law` that was fitted to these rows, figures included.

    `networks` and `baselines` have the columns of `scaling.law.foreign.read_rows`.
    """
    rate = law["base_rate"]
    tested = networks[(networks["split"] == "test") & (networks["weights"] == "best")]
    rivals = baselines[baselines["split"] == "test"]
    figures = draw_forecasts(law, networks, baselines)
    return render(
        "ladder.html",
        {name: to_svg(figure, name).element for name, figure in figures.items()},
        law=law,
        networks=[
            {
                "name": size["budget"],
                "parameters": size["parameters"],
                "seeds": len(size["seeds"]),
                "skill": size["skill"],
                "skill_interval": size["skill_interval"],
                "test": mean_scores(
                    [
                        score(run["y"], run["p"], rate)
                        for _, run in tested[tested["budget"] == size["budget"]].groupby("seed")
                    ]
                ),
            }
            for size in law["sizes"]
        ],
        baselines=[
            {
                "name": words(str(name)),
                "skill": law["best_network"]["against"][name]["skill"],
                "skill_interval": None,
                "test": score(rows["y"], rows["p"], rate),
            }
            for name, rows in rivals.groupby("model", sort=False)
        ],
        checks=[],
        failed=[],
        differences=[],
        left_out=[],
        provenance=_provenance(law),
    )


def _provenance(law: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        *((f"{path}, MD5", md5) for path, md5 in law["inputs"].items()),
        ("horizon", f"{law['horizon']} day(s)"),
        ("base rate, as given", f"{law['base_rate']:g}"),
        ("git commit", f"{law['git_commit']}{' with changes' if law['git_dirty'] else ''}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in law["versions"].items())),
        (
            "bootstrap",
            f"{law['bootstrap_samples']:,} samples, mean block {law['block_length']} days, "
            f"seed {law['bootstrap_seed']}",
        ),
    ]
