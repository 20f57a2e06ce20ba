// What the harness (cmd/jeton/clients_test.go) tells every client, and what a client tells the harness.
import assert from 'node:assert/strict'
import { appendFileSync, readFileSync } from 'node:fs'
import test from 'node:test'

const given = (name) => process.env[name] ?? assert.fail(`${name} is not set: run scripts/check.sh clients`)

// The load balancer in front of the three nodes; the same, which repeats what got no answer; and another
// cluster, whose tokens live for two seconds.
export const url = given('JETON_URL')
export const repeatingUrl = given('JETON_REPEATING_URL')
export const shortLivedUrl = given('JETON_SHORT_LIVED_URL')
export const ca = readFileSync(given('JETON_CACERT'))
// The application obtains tokens; the user is who they are for.
export const app = { username: given('JETON_APP_USER'), password: given('JETON_APP_PASSWORD') }
export const user = { username: given('JETON_USER'), password: given('JETON_PASSWORD') }

// The version that is installed, whatever package.json asks for.
export function versionOf (name) {
  const manifest = new URL(`./node_modules/${name}/package.json`, import.meta.url)
  return JSON.parse(readFileSync(manifest, 'utf8')).version
}

// A case of a client. The harness wants to hear of each, and of each only once.
export function story (version, name, tell) {
  test(name, async (t) => {
    let verdict = 'failed'
    try {
      await tell(t)
      verdict = 'passed'
    } finally {
      appendFileSync(given('JETON_RESULTS'), JSON.stringify({ version, case: name, verdict }) + '\n')
    }
  })
}

// Asked after each round of a story that lasts as long as the harness kills and restarts nodes.
export async function anotherRound () {
  const answer = await fetch(given('JETON_ROUNDS_URL'), { method: 'POST' })
  return await answer.text() === 'another'
}

// Resolves with what the promise was rejected with.
export async function refusal (promise) {
  return await promise.then(
    (answer) => assert.fail(`not refused: ${JSON.stringify(answer)}`),
    (error) => error
  )
}

// An access token is used until the server says that it has expired.
export async function untilRefused (use) {
  for (const deadline = Date.now() + 30_000; ;) {
    const error = await use().then(() => null, (error) => error)
    if (error !== null) return error
    assert.ok(Date.now() < deadline, 'the token never expires')
  }
}
