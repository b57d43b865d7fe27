#!/usr/bin/env bash
# What a first run on a GPU is to show, in under ten minutes on a large card: that it agrees with the CPU, and how fast it is.
#
#   ci/gpu-first-run.sh OUT [PYTHON]
#
# The programs have been built before: `cargo build --release -p dhih-train --features cuda` and `cargo build --release -p dhih-model --example parity
# --features cuda`, or with `ci/cuda-build.sh`. OUT is a folder for what was measured, one JSON object a line. PYTHON has torch and torchvision for
# the columns beside; without it they are left out. DEVICE=cpu tries the script itself on a machine without a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?a folder for the results}
python=${2:-}
device=${DEVICE:-cuda:0}
programs=${CARGO_TARGET_DIR:-target}/release
mkdir -p "$out"
failed=0

note() { printf '\n== %s ==\n' "$*"; }

# A GPU's engine on the CPU, so that a difference is the device's and not the engine's; then the device.
note "agreement of all backbones with the CPU"
DHIH_OPS=own "$programs/examples/parity" --write "$out/cpu.safetensors"
DHIH_OPS=portable "$programs/examples/parity" --compare "$out/cpu.safetensors" | tee "$out/parity-portable.jsonl" || failed=1
DHIH_OPS=portable "$programs/examples/parity" --device "$device" --compare "$out/cpu.safetensors" | tee "$out/parity.jsonl" || failed=1

note "the demo's losses and mAP, on the CPU and on the device"
for place in cpu "$device"; do
  rm -rf "$out/demo-${place/:/-}"
  "$programs/dhih-train" --dataset demo --epochs 3 --seed 1 --device "$place" --run-dir "$out/demo-${place/:/-}" --json \
    >"$out/demo-${place/:/-}.json" || failed=1
  cat "$out/demo-${place/:/-}/metrics.jsonl"
done

note "images/s and memory"
sample_memory() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200; }
: >"$out/speed.jsonl"
measure() { # backbone, batch, side, work, further flags
  local memory line samples
  samples=$(mktemp)
  if command -v nvidia-smi >/dev/null; then
    sample_memory >"$samples" &
    memory=$!
  fi
  line=$("$programs/dhih-train" bench --json --device "$device" --seconds 5 --backbone "$1" --batch-size "$2" --image-side "$3" --only "$4" "${@:5}") || failed=1
  if [[ -n ${memory:-} ]]; then
    kill "$memory"
  fi
  printf '{"program": "dhih", "backbone": "%s", "batch": %s, "flags": "%s", "gpu_mib": %s, "measured": %s}\n' \
    "$1" "$2" "${*:5}" "$(sort -n "$samples" | tail -n 1 | grep . || echo null)" "${line:-null}" | tee -a "$out/speed.jsonl"
  rm -f "$samples"
  if [[ -n $python ]]; then
    for dtype in f32 bf16; do
      line=$("$python" xtask/bench/model.py --threads "$(nproc)" --device "${device%%:*}" --dtype "$dtype" --seconds 5 --backbone "$1" --batch-size "$2" \
        --image-side "$3" --only "$4") || line=null
      printf '{"program": "PyTorch", "backbone": "%s", "batch": %s, "flags": "%s", "measured": %s}\n' "$1" "$2" "$dtype" "$line" | tee -a "$out/speed.jsonl"
    done
  fi
}
for flags in "" --tf32; do
  for work in training inference; do
    # shellcheck disable=SC2086
    measure cifarnet 512 32 "$work" $flags
    # shellcheck disable=SC2086
    measure resnet18 "${BATCH:-128}" 224 "$work" $flags
    # shellcheck disable=SC2086
    measure resnet50 "${BATCH:-128}" 224 "$work" $flags
  done
  python=
done
exit "$failed"
