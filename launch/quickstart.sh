#!/usr/bin/env bash
# Train a ControlNet for line art with the LISA loss on a CPU, in minutes: data and base model are embedded.
# Sets up a virtual environment of its own. Leaves everything in runs/quickstart; run again to continue or look again.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
use_venv .venv "[openmoji]"

# glibc then keeps the memory of a step for the next one, which takes a fifth less time (docs/speed.md).
export MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184

out=runs/quickstart
python -m lisa_jax train --config=configs/openmoji_lineart.py --workdir="$out"
python -m lisa_jax sample --workdir="$out" --out="$out/samples" --num=32
python -m lisa_jax export --workdir="$out" --out="$out/controlnet"
echo
python -m lisa_jax evaluate --workdir="$out" --out="$out/evaluation.json" --num=64
cat <<EOF

The picture          $out/samples/grid.png     (condition | with control | without | reference, drawings never seen in training)
The ControlNet       $out/controlnet           (diffusers.ControlNetModel.from_pretrained reads it)
The curves           $out/metrics.jsonl, $out/tensorboard (.venv/bin/tensorboard --logdir $out)
The measures         $out/evaluation.json
EOF
