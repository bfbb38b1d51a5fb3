"""The features, and the stamp that every costly rule depends on."""


rule features:
    input:
        prices=prices_of_features,
        manifest="data/manifest.json",
    output:
        features="data/processed/v1/{asset}_features_{tier}.parquet",
        record="data/processed/v1/{asset}_features_{tier}.json",
    log:
        "logs/features/{asset}.{tier}.log",
    conda:
        "../envs/scaling.yaml"
    params:
        identity=lambda wildcards: code_of("prepare", tier=features_digest(wildcards.tier)),
    shell:
        "exec python -m scaling.prepare --prices {input.prices:q} --manifest {input.manifest:q}"
        " --output {output.features:q} > {log:q} 2>&1"


# After a `checkpoint` Snakemake plans again. A touched price file therefore runs this check, and if
# the stamp comes out the same, nothing that depends on it.
checkpoint check_manifest:
    input:
        unpack(data_files),
        manifest=lambda wildcards: str(EXPERIMENTS[wildcards.experiment].data.manifest),
    output:
        "results/{experiment}/data.md5",
    log:
        "logs/{experiment}/check_manifest.log",
    conda:
        "../envs/scaling.yaml"
    params:
        identity=lambda wildcards: text_of(identities.checked_by(EXPERIMENTS[wildcards.experiment])),
    shell:
        "exec python -m scaling.check_data --config configs/{wildcards.experiment:q}.yaml"
        " --output {output:q} > {log:q} 2>&1"


# The stamp of a fold tells of the rows up to the end of its test block. Later days do not change it,
# so that new prices add a fold and train that one alone.
checkpoint check_fold:
    input:
        stamp="results/{experiment}/data.md5",
    output:
        "results/{experiment}/data.from{origin}.md5",
    log:
        "logs/{experiment}/check_fold.from{origin}.log",
    conda:
        "../envs/scaling.yaml"
    params:
        identity=lambda wildcards: text_of(
            identities.checked_by(
                config_of(wildcards.experiment, f"{BASELINES}.from{wildcards.origin}")
            )
        ),
    shell:
        "exec python -m scaling.check_data --config configs/{wildcards.experiment:q}.yaml"
        " --origin {wildcards.origin:q} --output {output:q} > {log:q} 2>&1"
