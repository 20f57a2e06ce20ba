#!/usr/bin/env bash
# Measures the README's table in one run: three nodes on this machine, three more
# that confirm each read by a quorum, a bare net/http handler and raw
# hashicorp/raft beside them, medians of interleaved rounds, and whether the aims
# are met. Takes about ten minutes.
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
devs=()
finish() {
  local verdict=$?
  if ((verdict != 0)); then
    tail -n 5 "$work"/{lease,quorum}/*/*.log "$work"/*.log >&2 || true # why, before the folder goes
  fi
  if ((${#devs[@]} > 0)); then
    kill "${devs[@]}" 2>/dev/null || true
    wait "${devs[@]}" || true
  fi
  rm -rf "$work"
}
trap finish EXIT

cd "$root"
go build -o "$work/jeton" ./cmd/jeton
go build -o "$work/load" ./scripts/load

# Two clusters, which differ in how a node makes sure that a token was not invalidated.
start_cluster() {
  printf 'read.mode: %s\n' "$1" >"$work/$1.yml" # dev keeps variables from its nodes
  "$work/jeton" dev --quiet --nodes 3 --http-port 0 --transport-port 0 --data "$work/$1" --settings "$work/$1.yml" >"$work/$1.log" 2>&1 &
  devs+=($!)
  local tenths
  for ((tenths = 0; ; tenths++)); do
    [[ -e $work/$1/dev.env ]] && break
    if ((tenths > 300)) || ! kill -0 "${devs[-1]}" 2>/dev/null; then
      cat "$work/$1.log" >&2
      echo 'bench.sh: the cluster did not become ready' >&2
      exit 1
    fi
    sleep 0.1
  done
}
start_cluster lease
start_cluster quorum

set -a
# shellcheck source=/dev/null
source "$work/lease/dev.env"
# shellcheck source=/dev/null
source <(sed 's/^JETON_/JETON_QUORUM_/' "$work/quorum/dev.env")
set +a
"$work/load" table -dir "$work" "${flags[@]}" "$@"
