"""README and docs show the figures of the published studies, digit for digit."""

import re
from datetime import date
from pathlib import Path

import pytest

from scaling.judging.summary import Summary, label, markdown, percent, read_summary, tables

WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}
README = Path("README.md").read_text()
EXPERIMENTS = Path("docs/experiments.md").read_text()
STUDIES = {path.stem: read_summary(path) for path in sorted(Path("docs/results").glob("*.json"))}


def one_line(text: str) -> str:
    return " ".join(text.split())


# The README's paragraph that says what a ladder found.
(PARAGRAPH,) = re.findall(r"^\*\*What the \w+ ladder says\*\*.*?(?=\n\n)", README, re.M | re.S)
ANSWER = one_line(PARAGRAPH)


# --- what a page must say --------------------------------------------------------------------


def study_of(paragraph: str) -> Summary:
    """The study whose command a paragraph names."""
    (name,) = re.findall(r"--configfile configs/(\w+)\.yaml", paragraph)
    return STUDIES[name]


def figures(study: Summary) -> dict[str, str]:
    """Each figure that the README must give of a study, by its name."""
    days, sizes, law = study.law.test_days, study.law.ladder.cells, study.law.ladder.parameters
    slope = law.slope
    *smaller, largest = [label(size.budget) for size in sizes]
    low, high = slope.interval95
    first, last = (date.fromisoformat(day) for day in (days.first, days.last))
    skills = [percent(size.skill) for size in sizes]
    minutes, hours = study.training_minutes, study.training_minutes / 60
    found = {
        "sizes": f"{', '.join(smaller)} and {largest} parameters",
        "seeds": seeds_of({size.budget: size.seeds for size in sizes}),
        "test days": f"{days.count:,} test days",
        "years": f"{first:%Y} to {last:%B %Y}",
        "verdict": f"*{law.verdict}*",
        "slope": f"{'falls' if slope.estimate < 0 else 'rises'} by "
        f"{abs(slope.estimate):.4f} nats for ten times the parameters",
        "interval": f"95 % interval of {low:+.4f} to {high:+.4f}",
        "skill": f"{min(skills, key=float)} to {max(skills, key=float)} % skill",
        "command": f"`{study.command}`",
        "date": study.finished,
        "duration": f"{minutes:.0f} minutes" if minutes < 100 else f"{hours:.1f} hours",
    }
    if law.verdict == "inconclusive":
        smallest = law.sensitivity.smallest_detectable_effect
        found["smallest effect"] = (
            f"An effect of {smallest:.4f} would have been seen in four of five such studies"
        )
        if apart := sum(not contrast.equivalent for contrast in law.contrasts):
            found["pairs"] = f"{WORDS[apart]} pairs of sizes may still differ by what matters"
    for name, row in study.law.best_network.against.items():
        if row.verdict == "loses to it":
            words = name.replace("_", " ")
            found[words] = f"loses to {words} ({percent(row.skill)} %)"
        if row.verdict == "cannot be told apart":
            found["no winner"] = "the best on validation cannot be told apart from"
    return found


def seeds_of(seeds: dict[str, list[int]]) -> str:
    """`three seeds each`, and `three seeds each, two at 200M` where a size has fewer."""
    most = max(map(len, seeds.values()))
    fewer = [(label(size), len(own)) for size, own in seeds.items() if len(own) < most]
    return ", ".join([f"{WORDS[most]} seeds each", *(f"{WORDS[n]} at {size}" for size, n in fewer)])


def complaints(paragraph: str, study: Summary) -> list[str]:
    """What a paragraph lacks of a study's figures, and every number that is none of them."""
    wanted = figures(study)
    found = [f"{name}: not `{said}`" for name, said in wanted.items() if said not in paragraph]
    for said in sorted(wanted.values(), key=len, reverse=True):
        paragraph = paragraph.replace(said, "")
    others = numbers("\n".join(map(markdown, tables(study))))
    strays = [number for number in numbers(paragraph) if number not in others]
    return found + [f"{number} is no figure of the study" for number in strays]


def numbers(text: str) -> list[str]:
    """Every number and every date of a text: `1,554`, `0.0017`, `2026-11-24`."""
    return re.findall(r"\d(?:[\d,.-]*\d)?", text)


def section_of(page: str, command: str) -> str:
    """The section of a page that names this command."""
    found = [part for part in re.split(r"^## ", page, flags=re.M) if f"`{command}`" in part]
    assert found, f"docs/experiments.md has no section with `{command}`"
    return found[0]


def missing_rows(section: str, study: Summary) -> list[str]:
    """The rows of a study's tables, and its slopes, that a section does not show."""
    *shown, slopes = tables(study)
    rows = [row for table in shown for row in markdown(table).splitlines()]
    lines = section.splitlines()
    return [row for row in rows if row not in lines] + [
        f"{axis}: {slope}" for axis, slope, _ in slopes[1:] if slope not in one_line(section)
    ]


# --- the pages -------------------------------------------------------------------------------


def test_the_answer_of_the_readme_is_that_of_the_published_study() -> None:
    assert complaints(ANSWER, study_of(ANSWER)) == []


SURFACES = [name for name, study in STUDIES.items() if study.law.surfaces]


def quoted(sentence: str, page: str) -> bool:
    return one_line(sentence) in one_line(page.replace("\n> ", "\n"))


@pytest.mark.parametrize("name", SURFACES)
def test_the_page_of_experiments_quotes_the_sentence_that_answers_both_questions(name: str) -> None:
    study = STUDIES[name]
    section = section_of(EXPERIMENTS, study.command)
    assert all(quoted(surface.sentence, section) for surface in study.law.surfaces.values())


def test_the_readme_quotes_the_sentence_of_the_study_that_it_names() -> None:
    (paragraph,) = re.findall(r"^\*\*More parameters, or more .*?(?=\n\n[^>])", README, re.M | re.S)
    study = study_of(paragraph)
    assert all(quoted(surface.sentence, paragraph) for surface in study.law.surfaces.values())
    assert study.finished in paragraph


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_of_experiments_says_by_which_commits_a_study_was_trained_and_judged(
    name: str,
) -> None:
    study = STUDIES[name]
    trained = ", ".join(commit[:7] for commit in study.trained["git_commit"])
    judged = study.law.provenance["git_commit"][:7]
    row = f"| [{name}](results/{name}.json) | {study.finished} | {trained} | {judged} |"
    assert row in EXPERIMENTS.splitlines()


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_of_experiments_shows_the_tables_of_every_published_study(name: str) -> None:
    section = section_of(EXPERIMENTS, STUDIES[name].command)
    assert missing_rows(section, STUDIES[name]) == []


def test_every_row_of_a_size_in_the_readme_is_one_of_the_published_study() -> None:
    study = study_of(ANSWER)
    rows = markdown(tables(study)[0]).splitlines()
    sizes = "|".join(label(size.budget) for size in study.law.ladder.cells)
    shown = re.findall(rf"^\| (?:{sizes}) \|.*$", README, re.M)
    assert [row for row in shown if row not in rows] == []


# --- the mistakes that these tests are for ---------------------------------------------------


def other_digits(text: str) -> list[str]:
    """The text with one digit changed, for every digit in it."""
    places = [match.start() for match in re.finditer(r"\d", text)]
    return [f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}" for at in places]


def test_any_digit_of_the_answer_that_is_changed_is_noticed() -> None:
    study, others = study_of(ANSWER), other_digits(ANSWER)
    assert len(others) > 40
    assert [text for text in others if not complaints(text, study)] == []


def test_another_verdict_another_baseline_and_another_direction_are_noticed() -> None:
    study = study_of(ANSWER)
    below = study.law.ladder.parameters.slope.estimate < 0
    way, other = ("falls", "rises") if below else ("rises", "falls")
    for true, wrong in (
        (f"*{study.law.ladder.parameters.verdict}*", "*certain*"),
        ("the best on validation cannot be told apart from", "the best on validation beats"),
        (f"Test log-loss {way} by", f"Test log-loss {other} by"),
        ("three seeds each", "five seeds each"),
    ):
        assert true in ANSWER
        assert complaints(ANSWER.replace(true, wrong), study)


def test_a_size_with_fewer_seeds_must_be_named() -> None:
    assert seeds_of({"200k": [1, 2, 3], "2m": [1, 2, 3]}) == "three seeds each"
    seeds = {"2m": [1, 2, 3], "20m": [1, 2], "200m": [1]}
    assert seeds_of(seeds) == "three seeds each, two at 20M, one at 200M"


@pytest.mark.parametrize("name", STUDIES)
def test_any_digit_of_a_row_that_is_changed_is_noticed(name: str) -> None:
    study = STUDIES[name]
    page = "\n".join(map(markdown, tables(study)))
    assert missing_rows(page, study) == []
    for row in markdown(tables(study)[0]).splitlines()[2:]:
        for changed in other_digits(row):
            assert missing_rows(page.replace(row, changed), study) == [row]
