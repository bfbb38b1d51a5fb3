"""Evaluation on the test block, baselines on the same days, the law, the report."""


rule evaluate:
    input:
        prices=configured(lambda data: data.prices),
        features=configured(lambda data: data.features),
        stamp="results/{experiment}/data.md5",
        checkpoint="results/{experiment}/{run}.ckpt",
    output:
        predictions="results/{experiment}/{run}.predictions.parquet",
        evaluation="results/{experiment}/{run}.eval.json",
    params:
        identity=identity("evaluate"),
    log:
        "logs/{experiment}/{run}.evaluate.log",
    benchmark:
        "logs/benchmarks/{experiment}/{run}.evaluate.tsv"
    shell:
        "exec python -m scaling.evaluate --config configs/{wildcards.experiment}.yaml"
        " --checkpoint {input.checkpoint} --data-md5 {input.stamp}"
        " --predictions {output.predictions} --output {output.evaluation} > {log} 2>&1"


rule baselines:
    input:
        prices=configured(lambda data: data.prices),
        features=configured(lambda data: data.features),
        stamp="results/{experiment}/data.md5",
    output:
        predictions="results/{experiment}/baselines.predictions.parquet",
        record="results/{experiment}/baselines.json",
    params:
        identity=lambda wildcards: identity(
            "judge_baselines",
            task=configs.as_dict(EXPERIMENTS[wildcards.experiment].task),
            window=configs.as_dict(EXPERIMENTS[wildcards.experiment].window),
            splits=configs.as_dict(EXPERIMENTS[wildcards.experiment].splits),
        ),
    log:
        "logs/{experiment}/baselines.log",
    benchmark:
        "logs/benchmarks/{experiment}/baselines.tsv"
    shell:
        "exec python -m scaling.judge_baselines --config configs/{wildcards.experiment}.yaml"
        " --data-md5 {input.stamp} --predictions {output.predictions} --output {output.record}"
        " > {log} 2>&1"


rule fit_law:
    input:
        predictions=lambda wildcards: expand(
            "results/{experiment}/{run}.predictions.parquet",
            experiment=wildcards.experiment,
            run=runs_of(wildcards.experiment),
        ),
        baselines="results/{experiment}/baselines.predictions.parquet",
    output:
        "results/{experiment}/scaling_law.json",
    params:
        identity=lambda wildcards: identity(
            "fit", law=configs.as_dict(EXPERIMENTS[wildcards.experiment].law)
        ),
    log:
        "logs/{experiment}/fit_law.log",
    benchmark:
        "logs/benchmarks/{experiment}/fit_law.tsv"
    shell:
        "exec python -m scaling.fit --config configs/{wildcards.experiment}.yaml"
        " --predictions {input.predictions} --baselines {input.baselines} --output {output}"
        " > {log} 2>&1"
