"""The page of somebody else's ladder: what prediction rows alone can show, on `ladder.html`."""

import pandas as pd

from scaling.figures.gallery import Shown, draw
from scaling.figures.page import bootstrap_row, mean_scores, render, size_row, words
from scaling.figures.svg import to_svg
from scaling.law.result import StudyLaw
from scaling.metrics import score


def ladder_page(law: StudyLaw, networks: pd.DataFrame, baselines: pd.DataFrame) -> str:
    """The whole page of a `law` that was fitted to these rows, figures included.

    `networks` and `baselines` have the columns of `scaling.law.prediction_rows.read_rows`.
    """
    rate = law.base_rate
    tested = networks[(networks["split"] == "test") & (networks["weights"] == "mean")]
    rivals = baselines[baselines["split"] == "test"]
    figures = draw(Shown(law, networks, baselines))
    by_size = {str(budget): rows for budget, rows in tested.groupby("budget")}
    return render(
        "ladder.html",
        {name: to_svg(figure, name).element for name, figure in figures.items()},
        law=law,
        networks=[
            {
                **size_row(size),
                "test": mean_scores(
                    [
                        score(run["y"], run["p"], rate)
                        for _, run in by_size[size.budget].groupby("seed")
                    ]
                ),
            }
            for size in law.ladder.cells
        ],
        baselines=[
            {
                "name": words(str(name)),
                "skill": law.best_network.against[str(name)].skill,
                "skill_interval": None,
                "test": score(rows["y"], rows["p"], rate),
            }
            for name, rows in rivals.groupby("model", sort=False)
        ],
        checks=[],
        failed=[],
        differences=[],
        left_out=[],
        ageings=[],
        markets=None,
        provenance=_provenance(law),
    )


def _provenance(law: StudyLaw) -> list[tuple[str, str]]:
    made = law.provenance
    return [
        *((f"{path}, MD5", md5) for path, md5 in law.inputs.items()),
        ("horizon", f"{law.settings.horizon} day(s)"),
        ("base rate, as given", f"{law.base_rate:g}"),
        ("git commit", f"{made['git_commit']}{' with changes' if made['git_dirty'] else ''}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in made["versions"].items())),
        bootstrap_row(law),
    ]
