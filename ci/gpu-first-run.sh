#!/usr/bin/env bash
# What a first run on a GPU is to show, in under ten minutes on a large card: that it agrees with the CPU, and how fast it is. It ends with 1 where
# a program fails or a result disagrees: features, gradients or codes by more than the example `parity` allows, the loss of an epoch of the demo by
# more than 5 %, its mAP by more than 0.01 (two engines on one CPU differ by up to 2 % and 0.001). Whatever fails, the rest is run.
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
memory= # the process that samples the GPU's memory
trap 'stop_sampling' EXIT

note() { printf '\n== %s ==\n' "$*"; }

sample_memory() { # file
  command -v nvidia-smi >/dev/null || return 0
  nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 >"$1" 2>/dev/null &
  memory=$!
}

stop_sampling() {
  [[ -n $memory ]] || return 0
  kill "$memory" 2>/dev/null || true
  wait "$memory" 2>/dev/null || true
  memory=
}

numbers() { # file, name of a value in JSON
  grep -o "\"$2\": *[-+.0-9eE]*" "$1" | sed 's/.*: *//'
}

agree() { # what, bound, whether it is relative, the CPU's numbers, the device's
  paste <(echo "$4") <(echo "$5") | awk -v what="$1" -v bound="$2" -v relative="$3" '
    { size = relative ? ($1 < 0 ? -$1 : $1) : 1; difference = $1 > $2 ? $1 - $2 : $2 - $1 }
    NF != 2 || $1 != $1 + 0 || $2 != $2 + 0 || !(difference <= bound * size) { disagrees = 1 }
    { printf "%s: %s on the CPU, %s on the device\n", what, $1, $2 }
    END { if (disagrees) print what ": they disagree"; exit disagrees }'
}

# A GPU's engine on the CPU, so that a difference is the device's and not the engine's; then the device.
note "agreement of all backbones with the CPU"
"$programs/examples/parity" --write "$out/cpu.safetensors" || failed=1
"$programs/examples/parity" --engine portable --compare "$out/cpu.safetensors" | tee "$out/parity-portable.jsonl" || failed=1
"$programs/examples/parity" --device "$device" --engine portable --compare "$out/cpu.safetensors" | tee "$out/parity.jsonl" || failed=1

note "the demo's losses and mAP, on the CPU and on the device"
demo() { # name, further flags
  rm -rf "$out/demo-$1"
  "$programs/dhih-train" --dataset demo --epochs 3 --seed 1 --run-dir "$out/demo-$1" --json "${@:2}" >"$out/demo-$1.json" || failed=1
}
demo cpu --device cpu
demo device --device "$device" --engine portable
values() { # name of the run, file, value
  numbers "$out/demo-$1/$2" "$3" || echo absent
}
agree loss 0.05 1 "$(values cpu metrics.jsonl loss)" "$(values device metrics.jsonl loss)" || failed=1
agree mAP 0.01 0 "$(values cpu evaluation.json map)" "$(values device evaluation.json map)" || failed=1

note "images/s and memory"
: >"$out/speed.jsonl"
measure() { # backbone, batch, side, work, further flags
  local line samples
  samples=$(mktemp)
  sample_memory "$samples"
  line=$("$programs/dhih-train" bench --json --device "$device" --seconds 5 --backbone "$1" --batch-size "$2" --image-side "$3" --only "$4" "${@:5}") || failed=1
  stop_sampling
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
