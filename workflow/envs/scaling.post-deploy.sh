#!/usr/bin/env bash
# Snakemake runs this in its working directory once it has made the environment of scaling.yaml. It
# makes the environment anew when this text changes, so the text carries what it cannot see:
# sha256 of constraints.txt: 1e6da16d65300b0a3d996706934988e93858d52f6fc86c4b7efc26ec1a740c03
set -euo pipefail
python -m pip install --constraint constraints.txt --editable .
