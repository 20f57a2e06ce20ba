#!/usr/bin/env bash
# Measures the README's table in one run: three nodes on this machine, a bare
# net/http handler and raw hashicorp/raft beside them, medians of interleaved
# rounds, and whether the aims are met. Takes about ten minutes.
#
#   scripts/bench.sh [--quick] [FLAG]...
#
#   --quick   everything once, for a moment: shows that it runs, judges nothing
#   FLAG      for `load table`: -rounds 3 -duration 4s -connections 1,64,256 -json FILE
#
# The cluster's and raw raft's logs lie in a folder made under $TMPDIR (default:
# /var/tmp, a disk: on a memory file system an fsync costs nothing, and the
# figures mean nothing).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
flags=(-json "$PWD/bench.json")
if [[ ${1:-} == --quick ]]; then
  shift
  flags=(-rounds 1 -duration 1s -warmup 200ms -connections "1,64" -verdict=false)
elif [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -nE '2,/^set/{/^#/s/^# ?//p}' "${BASH_SOURCE[0]}"
  exit 0
fi

work=$(mktemp -d -p "${TMPDIR:-/var/tmp}" jeton-bench-XXXXXX)
dev=''
finish() {
  local verdict=$?
  if ((verdict != 0)); then
    tail -n 5 "$work"/cluster/*/*.log "$work/dev.log" >&2 || true # why, before the folder goes
  fi
  if [[ -n $dev ]]; then
    kill "$dev" 2>/dev/null || true
    wait "$dev" || true
  fi
  rm -rf "$work"
}
trap finish EXIT

cd "$root"
go build -o "$work/jeton" ./cmd/jeton
go build -o "$work/load" ./scripts/load

"$work/jeton" dev --quiet --nodes 3 --http-port 0 --transport-port 0 --data "$work/cluster" >"$work/dev.log" 2>&1 &
dev=$!
for ((tenths = 0; ; tenths++)); do
  [[ -e $work/cluster/dev.env ]] && break
  if ((tenths > 300)) || ! kill -0 "$dev" 2>/dev/null; then
    cat "$work/dev.log" >&2
    echo 'bench.sh: the cluster did not become ready' >&2
    exit 1
  fi
  sleep 0.1
done

set -a
# shellcheck source=/dev/null
source "$work/cluster/dev.env"
set +a
"$work/load" table -dir "$work" "${flags[@]}" "$@"
