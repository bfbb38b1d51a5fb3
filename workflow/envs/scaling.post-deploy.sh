#!/usr/bin/env bash
# Snakemake runs this in its working directory once it has made the environment of scaling.yaml. It
# makes the environment anew when this text changes, so the text carries what it cannot see:
# sha256 of constraints.txt: 0678d5d4685a4cae6d767c115e947424d6d82435603b349c2f7bbfca1dfedf62
set -euo pipefail
python -m pip install --constraint constraints.txt --editable .
