// What every client of Elasticsearch goes through. How a call is written differs between majors, so
// each major's file says it: see elasticsearch-6.mjs.
import assert from 'node:assert/strict'
import { anotherRound, app, refusal, shortLivedUrl, story, untilRefused, url, user } from './environment.mjs'

const passwordGrant = { grant_type: 'password', ...user }

// connect(url, auth) returns the calls of one client; auth is {username, password}. formerly are members of
// an answer to an invalidation that later versions do not have.
export function elasticsearchStories (version, { connect, ResponseError, formerly = {} }) {
  const client = connect(url, app)
  const tell = (name, what) => story(version, name, what)

  const login = async () => (await client.getToken(passwordGrant)).body
  const refresh = async (pair) => await client.getToken({ grant_type: 'refresh_token', refresh_token: pair.refresh_token })

  async function accepted (token, username = user.username) {
    assert.equal((await client.authenticate(token)).body.username, username)
  }

  // Every node is likely to be asked, and each knows.
  async function refused (token) {
    for (let i = 0; i < 3; i++) {
      const error = await refusal(client.authenticate(token))
      assert.ok(error instanceof ResponseError, error)
      assert.equal(error.statusCode, 401)
      assert.equal(error.body.error.type, 'security_exception')
    }
  }

  async function invalidGrant (pair) {
    const error = await refusal(refresh(pair))
    assert.ok(error instanceof ResponseError, error)
    assert.equal(error.statusCode, 400)
    assert.equal(error.body.error, 'invalid_grant')
  }

  tell('product check', async () => {
    const warnings = []
    process.on('warning', (warning) => warnings.push(warning))
    const { body } = await client.info()
    assert.equal(body.tagline, 'You Know, for Search')
    assert.ok((await client.ping()).body)
    assert.deepEqual(warnings.filter(({ name }) => !name.startsWith('Deprecation')), [])
  })

  tell('issue', async () => {
    const { access_token: access, refresh_token: refresh, authentication, ...rest } = await login()
    assert.deepEqual(rest, { type: 'Bearer', expires_in: 1200 })
    assert.equal(authentication.username, user.username)
    assert.notEqual(access, refresh)
  })

  tell('use', async () => {
    const pair = await login()
    await accepted(pair.access_token)
    assert.equal((await client.health(pair.access_token)).body.number_of_nodes, 3)
  })

  tell('refresh', async () => {
    const pair = await login()
    const { body: successor } = await refresh(pair)
    assert.notEqual(successor.access_token, pair.access_token)
    assert.notEqual(successor.refresh_token, pair.refresh_token)
    await accepted(successor.access_token)
    await accepted(pair.access_token) // until it expires, as in Elasticsearch
  })

  tell('repeated refresh', async () => {
    const pair = await login()
    const first = await refresh(pair)
    const nodes = new Set([first.node])
    for (let repetitions = 1; nodes.size < 3; repetitions++) {
      assert.ok(repetitions < 100, `only ${[...nodes]} were asked`)
      const again = await refresh(pair)
      assert.deepEqual(again.body, first.body)
      nodes.add(again.node)
    }
    await accepted((await refresh(first.body)).body.access_token)
  })

  tell('client credentials', async () => {
    const { body: token } = await client.getToken({ grant_type: 'client_credentials' })
    assert.equal(token.refresh_token, undefined)
    await accepted(token.access_token, app.username)
  })

  tell('invalidate access token', async () => {
    const pair = await login()
    const { body } = await client.invalidateToken({ token: pair.access_token })
    assert.deepEqual(body, { invalidated_tokens: 1, previously_invalidated_tokens: 0, error_count: 0, ...formerly })
    await refused(pair.access_token)
    await accepted((await refresh(pair)).body.access_token) // the other half lives on
  })

  tell('invalidate refresh token', async () => {
    const pair = await login()
    const { body } = await client.invalidateToken({ refresh_token: pair.refresh_token })
    assert.equal(body.invalidated_tokens, 1)
    await invalidGrant(pair)
    await accepted(pair.access_token)
  })

  tell('invalidate by user', async () => {
    const pairs = [await login(), await login()]
    const { body } = await client.invalidateToken({ username: user.username })
    assert.ok(body.invalidated_tokens >= 4, JSON.stringify(body))
    for (const pair of pairs) {
      await refused(pair.access_token)
      await invalidGrant(pair)
    }
  })

  tell('wrong password', async () => {
    const ofUser = await refusal(client.getToken({ ...passwordGrant, password: 'guessed' }))
    const ofApp = await refusal(connect(url, { ...app, password: 'guessed' }).getToken(passwordGrant))
    for (const error of [ofUser, ofApp]) {
      assert.ok(error instanceof ResponseError, error)
      assert.equal(error.statusCode, 401)
      assert.equal(error.body.error.type, 'security_exception')
    }
  })

  tell('expired', async () => {
    const shortLived = connect(shortLivedUrl, app)
    const { body: pair } = await shortLived.getToken(passwordGrant)
    const error = await untilRefused(() => shortLived.authenticate(pair.access_token))
    assert.ok(error instanceof ResponseError, error)
    assert.equal(error.statusCode, 401)
    assert.equal(error.body.error.reason, 'token expired')
    const { body: successor } = await shortLived.getToken({ grant_type: 'refresh_token', refresh_token: pair.refresh_token })
    assert.notEqual(successor.access_token, pair.access_token)
  })

  tell('node discovery', async () => {
    const nodes = await client.discover()
    assert.equal(nodes.length, 3)
    assert.ok(nodes.every((node) => /^https:\/\/127\.0\.0\.1:\d+\/?$/.test(node)), nodes)
  })

  tell('nodes lost', async () => {
    for (let again = await anotherRound(); again; again = await anotherRound()) {
      const pair = await login()
      await accepted(pair.access_token)
      const { body: successor } = await refresh(pair)
      await accepted(successor.access_token)
      await client.invalidateToken({ token: successor.access_token })
      await refused(successor.access_token)
    }
  })
}
