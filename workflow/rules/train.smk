"""The search for the largest micro-batch that the device holds, the trainings and the sweeps."""


rule find_batch_size:
    input:
        stamp=stamp_of_a_search,
    output:
        "results/{experiment}/{budget}.batch_size.json",
    log:
        "logs/{experiment}/{budget}.batch_size.log",
    conda:
        "../envs/scaling.yaml"
    threads: workflow.cores or 1
    resources:
        gpu=int(has_gpu()),
    params:
        # A change of the search's own code does not make what it found wrong.
        identity=lambda wildcards: code_of(
            "training.model:build_model",
            EXPERIMENTS[wildcards.experiment].family,
            versions=versions_of(COMPUTING_PACKAGES),
            model=configs.as_dict(shape_of(wildcards.experiment, wildcards.budget)),
            window=configs.as_dict(EXPERIMENTS[wildcards.experiment].window),
            features=EXPERIMENTS[wildcards.experiment].data.tier,
            batch_size=EXPERIMENTS[wildcards.experiment].optimiser.batch_size,
            device=EXPERIMENTS[wildcards.experiment].device,
            precision=EXPERIMENTS[wildcards.experiment].precision,
        ),
        processes=lambda wildcards, resources: max(1, resources.get("gpu", 0)),
    shell:
        "exec python -m scaling.find_batch_size --config configs/{wildcards.experiment:q}.yaml"
        " --param-budget {wildcards.budget:q} --processes {params.processes:q} --output {output:q}"
        " > {log:q} 2>&1"


# The progress bar goes to the terminal. Every message goes to the log as well, and to a history
# beside it. Snakemake empties the log before a retry; the history keeps the messages of all tries.
rule train:
    input:
        unpack(checked_data("train")),
        batch_size=lambda wildcards: batch_size_of(wildcards.experiment, wildcards.run),
    output:
        checkpoint="results/{experiment}/{run}.ckpt",
        record="results/{experiment}/{run}.json",
    log:
        "logs/{experiment}/{run}.train.log",
    retries: 2 if workflow.is_main_process else 0  # on a cluster the whole job is submitted again
    conda:
        "../envs/scaling.yaml"
    threads: training_threads
    resources:
        gpu=int(has_gpu()),
        cool_down=lambda wildcards, attempt: 30 * (attempt - 1),
    params:
        identity=lambda wildcards: text_of(asked(wildcards.experiment, wildcards.run).as_json()),
        budget=lambda wildcards: name_of(wildcards.experiment, wildcards.run).budget,
        seed=lambda wildcards: name_of(wildcards.experiment, wildcards.run).seed,
        sample=lambda wildcards: sample_options(wildcards.experiment, wildcards.run),
        launch=launcher,
    shell:
        "sleep {resources.cool_down} && exec {params.launch} scaling.train --config configs/{wildcards.experiment:q}.yaml"
        " --param-budget {params.budget:q} --seed {params.seed:q} {params.sample:q}"
        " --batch-size {input.batch_size:q} --output {output.checkpoint:q} --record {output.record:q}"
        " --threads {threads} --log {log:q} --stop-with-parent"


# No target needs a sweep. It is asked for by name when a budget or a recipe is new.
rule sweep:
    input:
        unpack(checked_data("sweep")),
        batch_size=lambda wildcards: batch_size_of(wildcards.experiment, wildcards.sample),
    output:
        "results/{experiment}/{sample}.sweep.json",
    log:
        "logs/{experiment}/{sample}.sweep.log",
    conda:
        "../envs/scaling.yaml"
    threads: 1
    resources:
        gpu=int(has_gpu()),
    params:
        identity=lambda wildcards: text_of(
            asked(wildcards.experiment, wildcards.sample, "sweep").as_json()
        ),
        budget=lambda wildcards: name_of(wildcards.experiment, wildcards.sample).budget,
        sample=lambda wildcards: sample_options(wildcards.experiment, wildcards.sample),
    shell:
        "exec python -m scaling.sweep --config configs/{wildcards.experiment:q}.yaml"
        " --param-budget {params.budget:q} {params.sample:q} --batch-size {input.batch_size:q}"
        " --threads {threads} --output {output:q} > {log:q} 2>&1"
