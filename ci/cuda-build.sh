#!/usr/bin/env bash
# Builds dhih-train for CUDA on a machine without GPU, driver or toolkit; that it compiles and links is the check.
#
#   ci/cuda-build.sh [further arguments of `cargo build`]
#
# The toolkit comes as Python wheels. libcuda belongs to the driver: the linker gets a library with the same names and
# nothing behind them, the program finds the real one where it runs. The build needs about 10 minutes and 6 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
home=${DHIH_CUDA_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/dhih-cuda}
if [[ ! -e $home/complete ]]; then
  python3 -m venv "$home/wheels"
  "$home/wheels/bin/pip" install --quiet 'nvidia-cuda-nvcc==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-crt==13.0.*' \
    'nvidia-cuda-cccl==13.0.*' 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-curand==10.4.0.*' \
    'nvidia-cublas>=13,<13.2'
  touch "$home/complete"
fi
toolkit=$(ls -d "$home"/wheels/lib/python3*/site-packages/nvidia/cu13)
libraries=$home/libraries
mkdir -p "$libraries"
# Wheels carry libNAME.so.N alone; the linker asks for libNAME.so.
for file in "$toolkit"/lib/lib*.so.*; do
  name=$(basename "$file")
  ln -sf "$file" "$libraries/${name%%.so.*}.so"
done
cargo fetch --quiet
bindings=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-*/src/driver/sys | sort -V | tail -n 1)
grep -rhoE 'fn cu[A-Z][A-Za-z0-9_]*' "$bindings" | sed 's/^fn //' | sort -u | sed 's/.*/void &(void) {}/' |
  cc -x c -w -fno-builtin -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$libraries/libcuda.so" -
export CUDA_HOME=$toolkit CUDA_PATH=$toolkit PATH=$toolkit/bin:$PATH LIBRARY_PATH=$libraries
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90} CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$home/target}
exec cargo build --release -p dhih-train --features cuda "$@"
