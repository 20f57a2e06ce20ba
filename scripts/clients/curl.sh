#!/usr/bin/env bash
# curl as a client of OAuth 2.0: what oauth.mjs tells, in the words of a shell.
# Run by cmd/jeton/clients_test.go, which sets the variables; see scripts/check.sh clients.
# shellcheck disable=SC2317 # the stories are called by name
set -euo pipefail

cacert=$JETON_CACERT issuer=$JETON_REPEATING_URL
client_id=$JETON_APP_USER client_secret=$JETON_APP_PASSWORD
username=$JETON_USER password=$JETON_PASSWORD

# The requests, as docs/oauth-clients.md shows them.

login() { # [further parameters]
  curl -sS --cacert "$cacert" -u "$client_id:$client_secret" "$issuer/oauth2/token" -d grant_type=password \
    --data-urlencode "username=$username" --data-urlencode "password=$password" "$@"
}

refresh() { # refresh token, [further parameters]
  curl -sS --cacert "$cacert" -u "$client_id:$client_secret" "$issuer/oauth2/token" -d grant_type=refresh_token \
    --data-urlencode "refresh_token=$1" "${@:2}"
}

client_credentials() {
  curl -sS --cacert "$cacert" -u "$client_id:$client_secret" "$issuer/oauth2/token" -d grant_type=client_credentials
}

revoke() { # token of either kind
  curl -sS --cacert "$cacert" -u "$client_id:$client_secret" "$issuer/oauth2/revoke" --data-urlencode "token=$1"
}

introspect() { # token of either kind
  curl -sS --cacert "$cacert" -u "$client_id:$client_secret" "$issuer/oauth2/introspect" --data-urlencode "token=$1"
}

ask() { # path, access token
  curl -sS --cacert "$cacert" "$issuer$1" -H "Authorization: Bearer $2"
}

# What is expected of the answers.

member() { # name: of the JSON object on standard input
  sed -nE "s/.*\"$1\":(\"([^\"]*)\"|([a-z0-9]+)).*/\2\3/p"
}

want() { # actual, expected
  [[ $1 == "$2" ]] || { printf 'got %s, want %s\n' "$1" "$2" >&2; return 1; }
}

accepted() { # access token, username
  want "$(ask /_security/_authenticate "$1" | member username)" "$2"
}

refused() { # access token; every node is likely to be asked, and each knows
  for _ in 1 2 3; do
    want "$(ask /_security/_authenticate "$1" | member status)" 401
  done
}

# The stories.

issue() {
  local answer
  answer=$(login)
  want "$(member token_type <<<"$answer")" Bearer
  want "$(member expires_in <<<"$answer")" 1200
}

use() {
  local access
  access=$(login | member access_token)
  accepted "$access" "$username"
  want "$(ask /_cluster/health "$access" | member number_of_nodes)" 3
}

refreshes() {
  accepted "$(refresh "$(login | member refresh_token)" | member access_token)" "$username"
}

repeated_refresh() {
  local token first
  token=$(login | member refresh_token)
  first=$(refresh "$token")
  for _ in 1 2 3 4 5 6 7 8; do # the balancer asks another node each time
    want "$(refresh "$token" | member refresh_token)" "$(member refresh_token <<<"$first")"
  done
}

grants_to_itself() {
  accepted "$(client_credentials | member access_token)" "$client_id"
}

scope() {
  local narrow
  narrow=$(login -d scope=manage_token) # which says nothing about health
  want "$(member scope <<<"$narrow")" manage_token
  want "$(ask /_cluster/health "$(member access_token <<<"$narrow")" | member status)" 403
  want "$(refresh "$(member refresh_token <<<"$narrow")" -d scope=monitor | member error)" invalid_scope
  want "$(login -d scope=make_coffee | member error)" invalid_scope
}

revoke_access() {
  local pair
  pair=$(login)
  revoke "$(member access_token <<<"$pair")"
  refused "$(member access_token <<<"$pair")"
}

revoke_refresh() {
  local pair
  pair=$(login)
  revoke "$(member refresh_token <<<"$pair")"
  refused "$(member access_token <<<"$pair")" # all that came of the login ends
  want "$(refresh "$(member refresh_token <<<"$pair")" | member error)" invalid_grant
}

introspection() {
  local access told
  access=$(login | member access_token)
  told=$(introspect "$access")
  want "$(member active <<<"$told") $(member username <<<"$told") $(member client_id <<<"$told")" "true $username $client_id"
  revoke "$access"
  want "$(introspect "$access" | member active)" false
}

wrong_password() { (password=guessed && want "$(login | member error)" invalid_grant); }

wrong_secret() { (client_secret=guessed && want "$(login | member error)" invalid_client); }

expired() (
  issuer=$JETON_SHORT_LIVED_URL
  pair=$(login)
  deadline=$((SECONDS + 30))
  while answer=$(ask /_security/_authenticate "$(member access_token <<<"$pair")") && [[ $answer != *'"token expired"'* ]]; do
    ((SECONDS < deadline)) || want "$answer" 'token expired'
  done
  refresh "$(member refresh_token <<<"$pair")" | grep -q access_token
)

nodes_lost() {
  local pair
  while [[ $(curl -sS -X POST "$JETON_ROUNDS_URL") == another ]]; do
    pair=$(login)
    accepted "$(member access_token <<<"$pair")" "$username"
    pair=$(refresh "$(member refresh_token <<<"$pair")")
    accepted "$(member access_token <<<"$pair")" "$username"
    revoke "$(member refresh_token <<<"$pair")"
    refused "$(member access_token <<<"$pair")"
  done
}

version=$(curl --version | sed -nE '1s/curl ([^ ]+).*/\1/p')
bad=0

story() { # name, function
  local verdict=passed status
  # A subshell with its own -e; tested in an `if` or `||` it would lose its -e.
  set +e
  (set -e; "$2")
  status=$?
  set -e
  ((status == 0)) || verdict=failed bad=1
  printf '%s: %s\n' "$1" "$verdict"
  printf '{"version":"%s","case":"%s","verdict":"%s"}\n' "$version" "$1" "$verdict" >>"$JETON_RESULTS"
}

story 'issue' issue
story 'use' use
story 'refresh' refreshes
story 'repeated refresh' repeated_refresh
story 'client credentials' grants_to_itself
story 'scope' scope
story 'revoke access token' revoke_access
story 'revoke refresh token' revoke_refresh
story 'introspect' introspection
story 'wrong password' wrong_password
story 'wrong secret' wrong_secret
story 'expired' expired
story 'nodes lost' nodes_lost
exit "$bad"
