"""The laws of several studies beside each other: only if all were judged on the same days."""

from pathlib import Path

from scaling.errors import UserError
from scaling.law.result import StudyLaw, read_law

# Two studies with equal values of these were asked the same question about the same days.
SAME_QUESTION = {
    "test_days": "test days and positives",
    "base_rate": "training base rate",
}


def read_laws(paths: list[Path]) -> dict[str, StudyLaw]:
    """The law of each study by its experiment, in the order of `paths`.

    Raises `UserError` for fewer than two studies, for a file that holds no law of a study, and
    for studies whose test days or labels differ: their losses cannot be compared.
    """
    laws: dict[str, StudyLaw] = {}
    for path in paths:
        law = read_law(path)
        if law.experiment in laws:
            raise UserError(f"{path}: {law.experiment} stands twice; give each study once")
        laws[law.experiment] = law
    if len(laws) < 2:
        raise UserError(f"--laws: got {len(laws)} study; allowed: 2 or more")
    (first, reference), *others = laws.items()
    for experiment, law in others:
        for key, name in SAME_QUESTION.items():
            here, there = getattr(law, key), getattr(reference, key)
            if here != there:
                raise UserError(
                    f"{experiment} and {first} differ in their {name}: {here} and {there}; "
                    "allowed: studies of one question on the same days"
                )
    return laws
