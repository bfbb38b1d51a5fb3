#!/usr/bin/env bash
# Snakemake runs this in its working directory once it has made the environment of scaling.yaml. It
# makes the environment anew when this text changes, so the text carries what it cannot see:
# sha256 of constraints.txt: 4889aa961a50d53668c715798b305d30908c3b2ac2a0bc837bc3ecfc3c32b941
set -euo pipefail
python -m pip install --constraint constraints.txt --editable .
