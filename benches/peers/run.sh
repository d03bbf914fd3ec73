#!/usr/bin/env bash
# pastebank beside the peers: makes a virtual environment and the input, measures everything in turns,
# compares the results and prints the tables as Markdown. README.md beside this file says what is what.
#
#   benches/peers/run.sh [--quick] [--json FILE] [--plot FILE]
#   benches/peers/run.sh --check          the peers' own tests
#
# PASTEBANK=PATH takes that binary instead of building one; PEERS_VENV=DIR puts the environment there
# instead of into target/ (about 6 GB where only PyTorch's wheels for GPUs can be had).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"
scripts="$here/side_by_side"
venv="${PEERS_VENV:-$root/target/peers-venv}"
python="${PYTHON:-python3}"

fail() { echo "error: $1" >&2; exit 1; }
trap 'echo "interrupted; the same command goes on" >&2; exit 130' INT

check_python() {
  command -v "$python" > /dev/null || fail "$python is missing; PYTHON=PATH names another"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || fail "$("$python" --version 2>&1) is too old: Python 3.11 or newer is needed; PYTHON=PATH names another"
  "$python" -c 'import ensurepip, venv' 2> /dev/null \
    || fail "this Python has no venv: install python3-venv (Debian, Ubuntu) and run this again"
}

# PyTorch's wheels for CPUs are small and are not on PyPI; where they cannot be had, PyPI's do as well.
install() {
  local pip=("$venv/bin/pip" --disable-pip-version-check)
  echo "installing into $venv" >&2
  "$python" -m venv --clear "$venv"
  grep -E '^torch' "$scripts/requirements.txt" > "$venv/torch.txt"
  "${pip[@]}" install --quiet --retries 0 --timeout 10 --index-url https://download.pytorch.org/whl/cpu \
    -r "$venv/torch.txt" 2> /dev/null || echo "only PyPI's wheels of PyTorch can be had: some GB" >&2
  "${pip[@]}" install --quiet -r "$scripts/requirements.txt" >&2 || fail 'pip could not install; see above'
  # Only now: an interrupted installation is begun anew.
  cp "$scripts/requirements.txt" "$venv/installed.txt"
}

if ! cmp --silent "$scripts/requirements.txt" "$venv/installed.txt"; then
  check_python
  install
fi

if [ -z "${PASTEBANK:-}" ]; then
  (cd "$root" && cargo build --release >&2)
  PASTEBANK="${CARGO_TARGET_DIR:-$root/target}/release/pastebank"
fi
[ -x "$PASTEBANK" ] || fail "$PASTEBANK is no program; PASTEBANK=PATH names the binary"
PASTEBANK="$(realpath "$PASTEBANK")"
export PASTEBANK

if [ "${1:-}" = --check ]; then
  shift
  cd "$scripts"
  exec "$venv/bin/python" -m unittest test_peers "$@"
fi
exec "$venv/bin/python" "$scripts/compare.py" --pastebank "$PASTEBANK" "$@"
