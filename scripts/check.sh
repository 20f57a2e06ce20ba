#!/usr/bin/env bash
# The one door for checks: people and CI run the same modes.
#
#   scripts/check.sh [MODE]...     default: all
#
#   fmt          formatting and import groups
#   tidy         go.mod and scripts/tools.mod name exactly what is used
#   lint         golangci-lint, planted violations, size of packages, shell scripts
#   lint-planted only the proof that the linter's rules bite
#   test         every test in random order, with the race detector and without
#   simulate     JETON_SIM_HISTORIES (3000) clusters in one process, each through random faults of its own
#   bench-smoke  every benchmark and every cell of the README's table once, so that none rots
#   fuzz         every fuzz target, JETON_FUZZ (20000x; also 30s, 10m) times
#   fuzz-routes  every route, in one process and over TLS at a cluster, for JETON_FUZZ_ROUTES (20s; also 10m) each
#   e2e          real processes: the cluster is started, killed, cut, asked
#   clients      real clients of other makers, behind HAProxy; needs haproxy, node and npm
#   proxies      nginx, Caddy and HAProxy as docs/behind-a-proxy.md configures them; needs all three
#   lab-planted  the laboratory's planted defects that are caught in seconds: each of them must be
#   lab          the fault laboratory, JETON_LAB (10m; also 1h) long, with JETON_LAB_SEED or any; needs root, or user namespaces
#   all          everything above, in that order
#
# Stops at the first failure and prints the command to run again.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Read here and hidden from what is tested: to a node every JETON_ variable is a setting.
histories=${JETON_SIM_HISTORIES:-3000} fuzz_length=${JETON_FUZZ:-20000x} routes_length=${JETON_FUZZ_ROUTES:-20s}
lab_flags=(--for "${JETON_LAB:-10m}" --rate "${JETON_LAB_RATE:-120}" ${JETON_LAB_SEED:+--seed "$JETON_LAB_SEED"})
unset JETON_SIM_HISTORIES JETON_FUZZ JETON_FUZZ_ROUTES JETON_LAB JETON_LAB_RATE JETON_LAB_SEED

bold='' red='' green='' plain=''
if [[ -t 1 ]]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
fi

tool() { go tool -modfile="$root/scripts/tools.mod" "$@"; }

# Without colours and source lines, for output that is compared or kept.
issues() { tool golangci-lint run --allow-parallel-runners --show-stats=false --output.text.colors=false --output.text.print-issued-lines=false "$@"; }

complain() { printf '%s\n' "$*" >&2; return 1; }

check_fmt() {
  tool golangci-lint fmt --diff ||
    complain 'To format: go tool -modfile=scripts/tools.mod golangci-lint fmt'
}

check_tidy() {
  go mod tidy -diff || complain 'To tidy: go mod tidy'
  go -C scripts/clients/go mod tidy -diff || complain 'To tidy: go -C scripts/clients/go mod tidy'
  # Tidied alone: with -modfile the tools would be asked to cover our own imports too.
  alone=$(mktemp -d)
  trap 'rm -rf "$alone"' EXIT
  cp scripts/tools.mod "$alone/go.mod"
  cp scripts/tools.sum "$alone/go.sum"
  cd "$alone"
  go mod tidy -diff
}

check_lint() {
  issues ./...
  (cd scripts/clients/go && issues --config "$root/.golangci.yml" ./...)
  (check_lint-planted)
  check_exported
  if command -v shellcheck >/dev/null; then
    shellcheck scripts/*.sh scripts/clients/*.sh .ci/run
  fi
}

# A rule that never fires may be misspelt. So each import, clock and exit rule is broken on purpose in
# scripts/testdata/planted, and exactly the marked lines must be reported, by the linter the mark names.
check_lint-planted() {
  copy=$(mktemp -d)
  trap 'rm -rf "$copy"' EXIT
  cp -r scripts/testdata/planted/. "$copy"
  cp go.mod go.sum .golangci.yml "$copy"
  cd "$copy"
  grep -rn --include='*.go' '// planted: ' . | sed -E 's|^\./([^:]+:[0-9]+):.*// planted: ([a-z]+)$|\1 \2|' | sort >wanted
  issues ./... >found 2>errors && complain 'lint-planted: the linter found nothing wrong'
  sed -nE 's/^([^:]+:[0-9]+):.*\((depguard|forbidigo|gochecknoinits|exhaustive)\)$/\1 \2/p' found | sort -u >got
  diff -u --label 'planted violations' wanted --label 'reported by the linter' got ||
    complain "$(grep typecheck found || cat errors)" 'lint-planted: the rules of .golangci.yml do not bite where they should'
  printf 'lint-planted: %d planted violations, each reported\n' "$(wc -l <wanted)"
}

# At most 25 exported types and functions a package, 50 in fsm: a surface one can keep in mind.
check_exported() {
  local folder limit count
  while read -r folder; do
    limit=25
    [[ $folder == ./fsm ]] && limit=50
    count=$(find "$folder" -maxdepth 1 -name '*.go' ! -name '*_test.go' -exec cat {} + | grep -cE '^(func|type) [A-Z]' || true)
    if ((count > limit)); then
      complain "$folder exports $count names, more than $limit"
    fi
  done < <(find ./fsm ./cluster ./node ./httpapi -name '*.go' -printf '%h\n' | sort -u)
}

check_test() {
  go test -race -shuffle=on ./...
  # Again on all cores: packages with simulated clocks have one under the detector (race_test.go), and the
  # story of members that all move is skipped there, for a race of hashicorp/raft's own.
  go test -shuffle=on ./cluster ./httpapi ./node/...
}

check_simulate() {
  # The seeds and the number of operations are printed, also when all is well.
  JETON_SIM_HISTORIES=$histories go test -count=1 -timeout=1h -v -run='^TestRandomHistories' ./node |
    { grep -vE '^ *(=== |--- PASS)' || true; }
}

check_bench-smoke() {
  go test -run='^$' -bench=. -benchtime=1x -short ./...
  scripts/bench.sh --quick
}

# Counted, not timed: a target whose time is over while an input is under way fails
# with "context deadline exceeded", which is go test's fault and says nothing.
check_fuzz() {
  local found=0 file target
  while IFS=: read -r file target; do
    found=$((found + 1))
    printf '%s in %s\n' "$target" "${file%/*}"
    go test -run='^$' -fuzz="^$target\$" -fuzztime="$fuzz_length" "${file%/*}"
  done < <(find . -name '*_test.go' -not -path '*/testdata/*' -exec grep -HoE '^func Fuzz[A-Za-z0-9_]*' {} + | sed 's/:func /:/' | sort)
  printf '%d fuzz targets\n' "$found"
}

check_fuzz-routes() {
  JETON_FUZZ_ROUTES=$routes_length go test -count=1 -timeout=2h -v -run='^TestFuzzRoutes' ./httpapi ./cmd/jeton
}

check_e2e() { JETON_E2E=1 go test -count=1 -timeout=15m -run='^TestE2E' ./cmd/...; }

# In the folder of the tests and without naming it go test passes on what they print: the table.
check_clients() { (cd cmd/jeton && JETON_CLIENTS=all go test -count=1 -timeout=15m -run='^TestClients$'); }

check_proxies() { JETON_PROXIES=1 go test -count=1 -timeout=5m -run='^TestProxies$' ./cmd/jeton; }

# All of them, and the table of when each was last caught: go run ./scripts/lab planted
check_lab-planted() { go run ./scripts/lab planted --quick --clean 1; }

# 120 requests a second are what two cores manage beside three nodes.
check_lab() { go run ./scripts/lab run "${lab_flags[@]}"; }

everything=(fmt tidy lint test simulate bench-smoke fuzz fuzz-routes e2e clients proxies lab-planted lab)

run_mode() {
  local mode=$1 began=$SECONDS verdict=0
  printf '%s== %s%s\n' "$bold" "$mode" "$plain"
  # A subshell with its own -e, exit trap and folder; tested in an `if` or `||` it would lose its -e.
  set +e
  (set -e; "check_$mode")
  verdict=$?
  set -e
  if ((verdict != 0)); then
    printf '%s== %s failed after %d s%s; again with: scripts/check.sh %s\n' "$red" "$mode" $((SECONDS - began)) "$plain" "$mode"
    exit 1
  fi
  printf '%s== %s: good, %d s%s\n' "$green" "$mode" $((SECONDS - began)) "$plain"
}

modes=("$@")
if ((${#modes[@]} == 0)); then
  modes=(all)
fi
for mode in "${modes[@]}"; do
  case $mode in
    all) for each in "${everything[@]}"; do run_mode "$each"; done ;;
    fmt | tidy | lint | lint-planted | test | simulate | bench-smoke | fuzz | fuzz-routes | e2e | clients | proxies | lab-planted | lab) run_mode "$mode" ;;
    help | -h | --help) sed -nE '2,/^set/{/^#/s/^# ?//p}' "$root/scripts/check.sh" ;;
    *) printf 'check.sh: no mode %s; try scripts/check.sh help\n' "$mode" >&2; exit 2 ;;
  esac
done
