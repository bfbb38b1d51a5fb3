"""The micro-batch that the device holds, then the training itself."""


rule find_batch_size:
    input:
        stamp="results/{experiment}/data.md5",
    output:
        "results/{experiment}/{budget}.batch_size.json",
    log:
        "logs/{experiment}/{budget}.batch_size.log",
    benchmark:
        "logs/benchmarks/{experiment}/{budget}.batch_size.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores or 1
    resources:
        gpu=int(has_gpu()),
    params:
        # Not the search's own code: what was found stays until what it depends on changes.
        identity=lambda wildcards: identity(
            "training.model",
            versions=VERSIONS,
            model=configs.as_dict(MODELS[wildcards.budget]),
            window=configs.as_dict(EXPERIMENTS[wildcards.experiment].window),
            batch_size=EXPERIMENTS[wildcards.experiment].optimiser.batch_size,
            device=EXPERIMENTS[wildcards.experiment].device,
            precision=EXPERIMENTS[wildcards.experiment].precision,
        ),
        processes=lambda wildcards, resources: max(1, resources.get("gpu", 0)),
    shell:
        "exec python -m scaling.find_batch_size --config configs/{wildcards.experiment}.yaml"
        " --param-budget {wildcards.budget} --processes {params.processes} --output {output}"
        " > {log} 2>&1"


# The progress bar goes to the terminal, every message also to the log, and to a history beside it
# that Snakemake does not know: a training that was stopped and retried keeps the story of all tries.
rule train:
    input:
        prices=configured(lambda data: data.prices),
        features=configured(lambda data: data.features),
        features_record=ancient(features_record_of),
        stamp="results/{experiment}/data.md5",
        batch_size=lambda wildcards: f"results/{wildcards.experiment}/{budget_of(wildcards)}"
        ".batch_size.json",
    output:
        checkpoint="results/{experiment}/{run}.ckpt",
        record="results/{experiment}/{run}.json",
    log:
        "logs/{experiment}/{run}.train.log",
    benchmark:
        "logs/benchmarks/{experiment}/{run}.train.tsv"
    retries: 2 if workflow.is_main_process else 0  # a job on a node is retried as a job
    conda:
        "../../environment.yml"
    threads: training_threads
    resources:
        gpu=int(has_gpu()),
        cool_down=lambda wildcards, attempt: 30 * (attempt - 1),
    params:
        identity=run_identity,
        budget=budget_of,
        seed=seed_of,
        launch=launcher,
    shell:
        "sleep {resources.cool_down} && exec {params.launch} scaling.train --config configs/{wildcards.experiment}.yaml"
        " --param-budget {params.budget} --seed {params.seed} --data-md5 {input.stamp}"
        " --batch-size {input.batch_size} --output {output.checkpoint} --record {output.record}"
        " --threads {threads} --log {log} --stop-with-parent"


# Not part of the grid: asked for by name when a budget or a recipe is new.
rule sweep:
    input:
        prices=configured(lambda data: data.prices),
        features=configured(lambda data: data.features),
        features_record=ancient(features_record_of),
        stamp="results/{experiment}/data.md5",
        batch_size="results/{experiment}/{budget}.batch_size.json",
    output:
        "results/{experiment}/{budget}.sweep.json",
    log:
        "logs/{experiment}/{budget}.sweep.log",
    benchmark:
        "logs/benchmarks/{experiment}/{budget}.sweep.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=int(has_gpu()),
    params:
        identity=lambda wildcards: identity(
            "sweep",
            **configs.training_identity(
                EXPERIMENTS[wildcards.experiment], MODELS[wildcards.budget]
            ),
        ),
    shell:
        "exec python -m scaling.sweep --config configs/{wildcards.experiment}.yaml"
        " --param-budget {wildcards.budget} --batch-size {input.batch_size} --threads {threads}"
        " --output {output} > {log} 2>&1"
