"""Evaluation on the test block, baselines on the same days, the law and the report."""


rule evaluate:
    input:
        unpack(checked_data("evaluate")),
        checkpoint="results/{experiment}/{run}.ckpt",
    output:
        predictions="results/{experiment}/{run}.predictions.parquet",
        evaluation="results/{experiment}/{run}.eval.json",
    log:
        "logs/{experiment}/{run}.evaluate.log",
    conda:
        "../envs/scaling.yaml"
    resources:
        gpu=int(has_gpu()),
    params:
        identity=lambda wildcards: text_of(identities.judged_by(EXPERIMENTS[wildcards.experiment])),
    shell:
        "exec python -m scaling.evaluate --config configs/{wildcards.experiment:q}.yaml"
        " --checkpoint {input.checkpoint:q}"
        " --predictions {output.predictions:q} --output {output.evaluation:q} > {log:q} 2>&1"


rule baselines:
    input:
        unpack(checked_data("baselines")),
    output:
        predictions="results/{experiment}/{baselines}.predictions.parquet",
        record="results/{experiment}/{baselines}.json",
    log:
        "logs/{experiment}/{baselines}.log",
    conda:
        "../envs/scaling.yaml"
    params:
        identity=lambda wildcards: text_of(
            asked_baselines(wildcards.experiment, wildcards.baselines).as_json()
        ),
        sample=lambda wildcards: sample_options(wildcards.experiment, wildcards.baselines),
    shell:
        "exec python -m scaling.judge_baselines --config configs/{wildcards.experiment:q}.yaml"
        " {params.sample:q} --predictions {output.predictions:q}"
        " --output {output.record:q} > {log:q} 2>&1"


# Optional: trains on shuffled labels, which must teach nothing. No target needs it, so it runs when
# it is asked for by name. The next report shows what it found.
rule shuffled_control:
    input:
        unpack(checked_data("shuffled_control")),
        batch_size=lambda wildcards: batch_size_of(wildcards.experiment, wildcards.sample),
    output:
        "results/{experiment}/{sample}.shuffled.json",
    log:
        "logs/{experiment}/{sample}.shuffled.log",
    conda:
        "../envs/scaling.yaml"
    threads: workflow.cores or 1
    resources:
        gpu=int(has_gpu()),
    params:
        identity=lambda wildcards: text_of(
            [
                identities.controlled_by(EXPERIMENTS[wildcards.experiment]),
                asked(wildcards.experiment, wildcards.sample).as_json(),
            ]
        ),
        budget=lambda wildcards: name_of(wildcards.experiment, wildcards.sample).budget,
        sample=lambda wildcards: sample_options(wildcards.experiment, wildcards.sample),
    shell:
        "exec python -m scaling.shuffled_control --config configs/{wildcards.experiment:q}.yaml"
        " --param-budget {params.budget:q} {params.sample:q}"
        " --batch-size {input.batch_size:q} --output {output:q} > {log:q} 2>&1"


# Optional, as the control is: judges the networks of a walk's folds on all later test blocks.
rule age:
    input:
        unpack(checked_data("age")),
        checkpoints=lambda wildcards: [
            str(artefact(wildcards.experiment, name, "ckpt")) for name in folds_of(wildcards)
        ],
    output:
        "results/{experiment}/{budget}.age.json",
    log:
        "logs/{experiment}/{budget}.age.log",
    conda:
        "../envs/scaling.yaml"
    resources:
        gpu=int(has_gpu()),
    params:
        identity=lambda wildcards: text_of(identities.aged_by(EXPERIMENTS[wildcards.experiment])),
    shell:
        "exec python -m scaling.age --config configs/{wildcards.experiment:q}.yaml"
        " --checkpoints {input.checkpoints:q} --output {output:q} > {log:q} 2>&1"


rule fit_law:
    input:
        unpack(checked_data("fit_law")),
        predictions=of_all_runs("predictions.parquet"),
        baselines=of_all_baselines("predictions.parquet"),
    output:
        "results/{experiment}/scaling_law.json",
    log:
        "logs/{experiment}/fit_law.log",
    conda:
        "../envs/scaling.yaml"
    params:
        identity=lambda wildcards: text_of(
            identities.fitted_by(EXPERIMENTS[wildcards.experiment], experiments_with(wildcards))
        ),
        experiments=experiments_with,
    shell:
        "exec python -m scaling.fit --config configs/{wildcards.experiment:q}.yaml"
        " --predictions {input.predictions:q} --baselines {input.baselines:q}"
        " --experiments {params.experiments:q} --output {output:q} > {log:q} 2>&1"


rule report:
    input:
        unpack(checked_data()),
        law="results/{experiment}/scaling_law.json",
        records=of_all_runs("json"),
        evaluations=of_all_runs("eval.json"),
        predictions=of_all_runs("predictions.parquet"),
        baselines=of_all_baselines("predictions.parquet"),
        baselines_record=of_all_baselines("json"),
    output:
        **figures_of_the_grid(),
        page=report(
            "results/{experiment}/report.html",
            caption="../report/page.rst",
            category="{experiment}",
            subcategory="The answer",
            labels={"shows": "the whole study on one page"},
        ),
    log:
        "logs/{experiment}/report.log",
    conda:
        "../envs/scaling.yaml"
    params:
        identity=lambda wildcards: code_of(
            "report",
            sweeps=[file_md5(path) for path in sweeps_of(wildcards)],
            controls=[file_md5(path) for path in shuffled_of(wildcards)],
            ages=[file_md5(path) for path in ages_of(wildcards)],
        ),
        sweeps=sweeps_of,
        controls=shuffled_of,
        ages=ages_of,
        figures=lambda wildcards, output: os.path.dirname(output.ladder),
    shell:
        "exec python -m scaling.report --config configs/{wildcards.experiment:q}.yaml"
        " --law {input.law:q} --records {input.records:q}"
        " --evaluations {input.evaluations:q} --predictions {input.predictions:q}"
        " --baselines {input.baselines:q} --baselines-record {input.baselines_record:q}"
        " --sweeps {params.sweeps:q} --controls {params.controls:q} --ages {params.ages:q}"
        " --figures {params.figures:q}"
        " --output {output.page:q} > {log:q} 2>&1"
