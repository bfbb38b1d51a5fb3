"""The report's page: tables and sentences as HTML, figures inside, nothing fetched."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

FIGURES = {
    "ladder": "Test log-loss skill against counted parameters. Dots: mean over seeds, with 95 % "
    "intervals over days and seeds; dashes: single seeds; dashed lines: the baselines, on the "
    "same days.",
    "compute": "Test log-loss against the FLOP spent on training, one mark a run.",
    "learning_curves": "Log-loss per epoch: solid validation, dotted training; the dot is the "
    "epoch that was kept. A budget's runs share a colour.",
    "reliability": "Forecast and observed frequency on test days, bins of equal count, bars 95 % "
    "by chance alone. On the dashed line a forecast means what it says.",
    "skill_by_year": "Test log-loss skill over the training base rate, calendar year by year; "
    "networks as the mean of their seeds' forecasts.",
    "drift": "Shift of each feature's mean from the training block, in its standard deviations "
    "there. Dashed: where extrapolation begins and the check fails.",
}
# Drawn only where a budget's learning rates were tried; no output of the workflow, hence apart.
SWEEPS = (
    "Learning rates tried with a seed that no study uses: the best epoch's validation log-loss. "
    "Ringed: the lowest, between worse ones; a star: the lowest, but at the edge of what was tried."
)

STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --page: #ffffff; --soft: #5d6672;
  --line: #d9dde3; --tint: #f4f6f8; --good: #1f7a4d; --bad: #b3261e; --bad-tint: #fdecea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --page: #15181c; --soft: #9aa4b1;
  --line: #343a43; --tint: #1e2228; --good: #5cc492; --bad: #ff8a80; --bad-tint: #3a1d1b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 54rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: var(--page); font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .5rem; border-top: 1px solid var(--line);
  padding-top: 1rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .875rem; }
.verdict { font-size: 1.2rem; line-height: 1.45; margin: 1rem 0; padding-left: 1rem;
  border-left: 4px solid var(--ink); }
.verdict strong { text-transform: uppercase; letter-spacing: .04em; font-size: .9em; }
.failed { background: var(--bad-tint); border-left: 4px solid var(--bad); margin: 1rem 0;
  padding: .75rem 1rem; }
.failed ul { margin-bottom: 0; }
.failed strong, .no { color: var(--bad); }
.yes { color: var(--good); }
figure { margin: 1rem 0; break-inside: avoid; }
figure svg { width: 100%; height: auto; max-height: 34rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; margin: .75rem 0;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .25rem; }
th, td { text-align: left; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; }
th.number { white-space: normal; }
.number { text-align: right; white-space: nowrap; }
code { font-size: .85em; overflow-wrap: anywhere; }
@media print { :root { --ink: #000; --page: #fff; --soft: #444; --line: #bbb; --tint: #fff;
  --good: #000; --bad: #000; --bad-tint: #fff; } body { max-width: none; font-size: 10.5pt;
  padding: 0; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""


def text(value: Any) -> str:
    """Any value as safe HTML text."""
    return html.escape(str(value))


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as per cent."""
    return "–" if value is None else f"{100 * value:.{digits}f} %".replace("-", "−")


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash for one that the rows could not define."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def span(ends: Sequence[float], scale: float = 1, digits: int = 4) -> str:
    """An interval."""
    return " to ".join(number(scale * end, digits) for end in ends)


def chance(p: float) -> str:
    """A p-value."""
    return "< 0.001" if p < 0.001 else number(p)


def power_of_ten(value: float) -> str:
    """`1.2 × 10¹⁵`."""
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return f"{mantissa} × 10{raised}"


def duration(seconds: float) -> str:
    """Hours, or minutes for less than one."""
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1
) -> str:
    """An HTML table of ready cells; all columns after the first `words` are numbers."""

    def cells(values: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}>{value}</{tag}>" if i < words else f'<{tag} class="number">{value}</{tag}>'
            for i, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>\n" for row in rows)
    return (
        f'<div class="scroll"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{cells([text(h) for h in header], 'th')}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>"
    )


def failed_banner(checks: Sequence[dict[str, Any]]) -> str:
    """The first lines of a study that may not be believed; empty for a sound one."""
    failed = [item for item in checks if not item["passed"]]
    if not failed:
        return ""
    items = "".join(
        f"<li><strong>{text(item['name'])}</strong> ({text(', '.join(item['runs']))}): "
        f"{text(item['found'])}; allowed: {text(item['allowed'])}. "
        f"That means: {text(item['meaning'])}.</li>"
        for item in failed
    )
    return (
        f'<div class="failed" id="failed" role="alert"><strong>{len(failed)} of {len(checks)} '
        f"checks failed: do not rely on what follows.</strong><ul>{items}</ul></div>"
    )


def ladder_table(
    law: dict[str, Any],
    records: Sequence[dict[str, Any]],
    evaluations: Sequence[dict[str, Any]],
    baselines: dict[str, Any],
) -> str:
    """Sizes, then baselines: skill with interval, ranking, calibration, cost."""

    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    def measures(models: Sequence[dict[str, Any]]) -> list[str]:
        tests = [model["test"] for model in models]
        return [
            percent(mean(model["test_recalibrated"]["log_loss_skill"] for model in models)),
            percent(mean(test["d2_log_loss"] for test in tests)),
            percent(mean(test["brier_skill"] for test in tests)),
            number(mean(test["reliability"] for test in tests), 4),
            number(mean(test["resolution"] for test in tests), 4),
            number(mean(test["average_precision"] for test in tests)),
        ]

    main_rows, more_rows = [], []
    for size in law["sizes"]:
        of_size = [e["metrics"] for e in evaluations if e["budget"] == size["budget"]]
        best = [metrics["best"] for metrics in of_size]
        runs = [record for record in records if record["budget"] == size["budget"]]
        main_rows.append(
            [
                text(size["budget"]),
                f"{size['parameters']:,}",
                str(len(size["seeds"])),
                f"{percent(size['skill'])} ({span(size['skill_interval'], 100, 1)})",
                number(mean(model["test"]["auc"] for model in best)),
                percent(mean(model["test"]["expected_calibration_error"] for model in best)),
                duration(sum(run["seconds"] for run in runs) / len(runs)),
                power_of_ten(sum(run["flops"] for run in runs) / len(runs)),
            ]
        )
        last = mean(metrics["last"]["test"]["log_loss_skill"] for metrics in of_size)
        more_rows.append([text(size["budget"]), percent(last), *measures(best)])
    for name, model in baselines["models"].items():
        test, shown = model["test"], text(name.replace("_", " "))
        main_rows.append(
            [
                *(shown, "–", "–", percent(test["log_loss_skill"]), number(test["auc"])),
                *(percent(test["expected_calibration_error"]), "–", "–"),
            ]
        )
        more_rows.append([shown, "–", *measures([model])])
    prevalence = evaluations[0]["metrics"]["best"]["test"]["prevalence"]
    return table(
        f"Test days {law['days']['first']} to {law['days']['last']}: {law['days']['count']:,}, "
        f"{law['days']['positives']:,} of them positive. Means over seeds, weights of the best "
        "validation epoch; skill over the training base rate with its 95 % interval over days "
        "and seeds; time and FLOP a run.",
        (
            *("model", "parameters", "seeds", "log-loss skill", "AUC"),
            *("calibration error", "time", "FLOP"),
        ),
        main_rows,
    ) + table(
        "The same forecasts by other measures. Last epoch: without choosing on validation. "
        "Recalibrated: logits stretched and shifted as validation asks. D²: skill over the test "
        f"days' own share of positives, {percent(prevalence)}, which is also the average "
        "precision of a coin. Reliability (small is good) and resolution are parts of the Brier "
        "score.",
        (
            *("model", "last epoch", "recalibrated", "D²", "Brier skill"),
            *("reliability", "resolution", "avg. precision"),
        ),
        more_rows,
    )


def versus_baselines(law: dict[str, Any]) -> str:
    """The best network on validation against each baseline, paired by day."""
    best = law["best_network"]
    tone = {"beats it": "yes", "loses to it": "no"}
    rows = [
        [
            text(name.replace("_", " ")),
            f'<span class="{tone.get(row["verdict"], "soft")}">{text(row["verdict"])}</span>',
            percent(row["skill"]),
            number(row["difference"], 4),
            span(row["interval95"]),
            chance(row["p_holm"]),
        ]
        for name, row in best["against"].items()
    ]
    return table(
        f"{best['budget']} ({best['chosen_by']}), test skill {percent(best['skill'])}, against "
        "each baseline. Difference of log-loss in nats, negative where the network is better.",
        ("baseline", "the network", "its skill", "difference", "95 % interval", "p (Holm)"),
        rows,
        words=2,
    )


def law_section(law: dict[str, Any]) -> str:
    """Slope, contrasts, and the shapes that were compared."""
    slope, shapes = law["slope"], law["models_compared"]
    power = shapes["power_law"]
    alpha = (
        f"power law: {text(power['status'])} ({text(power['reason'])})"
        if power.get("alpha") is None
        else f"power law exponent {number(power['alpha'])}, 95 % "
        f"{span(power['alpha_interval95'], digits=3)}"
    )
    rows = [
        [
            text(f"{row['smaller']} → {row['larger']}"),
            number(row["difference"], 4),
            span(row["interval95"]),
            chance(row["p_holm"]),
        ]
        for row in law["contrasts"]
    ]
    return (
        f"<p>Slope {number(slope['estimate'], 4)} {text(slope['unit'])}; 95 % interval "
        f"{span(slope['interval95'])} by the two-way bootstrap, {span(slope['t_interval95'])} by "
        f"summed variances. Set in advance: an effect is {number(law['delta'], 4)} or more "
        f"({percent(law['delta_fraction'])} of the base-rate entropy). The smallest effect that "
        f"would probably have been seen is {number(law['smallest_detectable_effect'], 4)}. "
        f"Test days needed to see one that matters: {needed(law, 'days')}; seeds: "
        f"{needed(law, 'seeds')}. Simplest shape that holds: "
        f"{text(shapes['preferred'].replace('_', ' '))}; {alpha}.</p>"
        + table(
            "Differences of test log-loss between sizes, paired by day, in nats.",
            ("sizes", "difference", "95 % interval", "p (Holm)"),
            rows,
        )
    )


def needed(law: dict[str, Any], what: str) -> str:
    """How many days or seeds would settle it, with its note."""
    count, note = law[f"{what}_needed"], law[f"{what}_needed_note"]
    return text(note) if count is None else f"{count:,} ({text(note)})"


def sweeps_sentence(sweeps: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]) -> str:
    """For each budget the rate that did best, whether it is a minimum, and what was trained."""
    parts = []
    for sweep in sweeps:
        best = sweep["learning_rate"] * sweep["best_multiplier"]
        trained = {
            run["config"]["optimiser"]["learning_rate"] * run["model"]["learning_rate_multiplier"]
            for run in records
            if run["budget"] == sweep["budget"]
        }
        where = (
            "worse on both sides"
            if sweep["interior"]
            else "at the edge of what was tried, so not a minimum yet"
        )
        parts.append(
            f"{sweep['budget']}: best at {best:.2g} of {len(sweep['trials'])} tried, {where}; "
            f"the ladder trained it at {' and '.join(f'{rate:.2g}' for rate in sorted(trained))}"
        )
    return f"{'. '.join(parts)}."


def drift_table(drift: Sequence[dict[str, Any]]) -> str:
    """Per feature what the drift check looks at."""
    columns = [
        f"{block}_{what}" for block in ("validation", "test") for what in ("shift", "spread")
    ]
    return table(
        "Training mean and standard deviation; shift of the mean and spread, both in training "
        "standard deviations.",
        ("feature", "train mean", "train std", *(c.replace("_", " ") for c in columns)),
        [
            [
                text(row["feature"]),
                *(number(row[key]) for key in ("train_mean", "train_std")),
                *(number(row[key], 2) for key in columns),
            ]
            for row in drift
        ],
    )


def checks_table(checks: Sequence[dict[str, Any]]) -> str:
    """Every check with what was found and what is allowed."""
    rows = [
        [
            text(item["name"]),
            '<span class="yes">passed</span>'
            if item["passed"]
            else f'<span class="no">FAILED</span> ({text(", ".join(item["runs"]))})',
            text(item["found"]),
            text(item["allowed"]),
        ]
        for item in checks
    ]
    return table(
        "Run in every evaluation, and in shuffled controls where there are any. Found: of the "
        "first run, or the first that failed.",
        ("check", "result", "found", "allowed"),
        rows,
        words=4,
    )


def provenance_table(
    law: dict[str, Any], records: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]
) -> str:
    """Data, labels, code, versions, machines."""

    def distinct(key: str, items: Sequence[dict[str, Any]]) -> str:
        return ", ".join(sorted({str(item.get(key)) for item in items}))

    def distinct_versions(items: Sequence[dict[str, Any]]) -> str:
        found = {", ".join(f"{k} {v}" for k, v in item["versions"].items()) for item in items}
        return " | and ".join(sorted(found))

    config = records[0]["config"]
    dirty = any(item["git_dirty"] for item in (law, *records, *evaluations))
    rows = [
        ("experiment", law["experiment"]),
        (
            "question",
            f"close up {percent(config['task']['threshold'])} within "
            f"{config['task']['horizon']} day(s)",
        ),
        *(
            (block, " to ".join(config["splits"][block]))
            for block in ("train", "validation", "test")
        ),
        ("prices, MD5", distinct("data_md5", records)),
        ("features, MD5", distinct("features_md5", records)),
        ("labels, hash", distinct("label_hash", records)),
        ("training base rate", percent(law["base_rate"], 2)),
        ("runs", ", ".join(record["run"] for record in records)),
        ("code, digest of training", distinct("code_digest", records)),
        (
            "git commit",
            distinct("git_commit", [law, *records, *evaluations])
            + (" with uncommitted changes" if dirty else ""),
        ),
        ("versions, training", distinct_versions(records)),
        ("versions, law", distinct_versions([law])),
        ("trained on", distinct("device_name", records)),
        ("precision", distinct("precision", records)),
        (
            "bootstrap",
            f"{law['bootstrap_samples']:,} samples, mean block {law['block_length']} "
            f"days, seed {law['bootstrap_seed']}",
        ),
    ]
    return table(
        "What this page was made from.",
        ("", ""),
        [[text(name), f"<code>{text(value)}</code>"] for name, value in rows],
        words=2,
    )


def html_page(
    law: dict[str, Any],
    records: Sequence[dict[str, Any]],
    evaluations: Sequence[dict[str, Any]],
    baselines: dict[str, Any],
    checks: Sequence[dict[str, Any]],
    sweeps: Sequence[dict[str, Any]],
    left_out: Sequence[str],
    svg: dict[str, str],
) -> str:
    """The whole HTML.

    `checks` are merged over runs, `left_out` are files that were given and not used, a line each,
    `svg` maps the names of `FIGURES`, and "sweeps" where there are any, to `<svg>` elements.
    """
    warnings = "".join(f"<li>{text(warning)}</li>" for warning in law["warnings"])
    unused = "".join(f"<li>{text(line)}</li>" for line in left_out)

    def figure(name: str) -> str:
        caption = text(FIGURES.get(name, SWEEPS))
        drawn = svg[name].replace("<svg", f'<svg role="img" aria-label="{caption}"', 1)
        return f'<figure id="{name}">{drawn}<figcaption>{caption}</figcaption></figure>'

    learning_rates = (
        f"<h2>Learning rates</h2>\n<p>{text(sweeps_sentence(sweeps, records))}</p>\n"
        f"{figure('sweeps')}\n"
        if sweeps
        else ""
    )
    experiment = text(law["experiment"])
    sound = all(item["passed"] for item in checks)
    verdict = text(law["verdict"]) + ("" if sound else " (void: a check failed)")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{verdict}: {experiment}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Does a bigger network predict better?</h1>
<p class="soft">{experiment}, {len(records)} trained networks, {len(law["sizes"])} sizes</p>
</header>
<main>
{failed_banner(checks)}
<p class="verdict" id="verdict"><strong>{verdict}</strong><br>
{text(law["sentence"])}</p>
{f"<ul>{warnings}</ul>" if warnings else ""}
<p class="soft">{sum(c["passed"] for c in checks)} of {len(checks)} validity checks passed.</p>
{f'<ul id="left-out">{unused}</ul>' if unused else ""}
{figure("ladder")}
<h2>Against the baselines</h2>
{versus_baselines(law)}
<h2>All models</h2>
{ladder_table(law, records, evaluations, baselines)}
<h2>The law</h2>
{law_section(law)}
{figure("compute")}
<h2>Learning curves</h2>
{figure("learning_curves")}
{learning_rates}<h2>Calibration</h2>
{figure("reliability")}
<h2>Year by year</h2>
{figure("skill_by_year")}
<h2>Drift of the features</h2>
{figure("drift")}
{drift_table(evaluations[0]["drift"])}
<h2>Checks</h2>
{checks_table(checks)}
<h2>Provenance</h2>
{provenance_table(law, records, evaluations)}
</main>
</body>
</html>
"""
