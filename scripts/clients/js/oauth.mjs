// What every client of OAuth 2.0 goes through. How a call is written differs between libraries, so each
// library's file says it: see openid-client.mjs.
import assert from 'node:assert/strict'
import { anotherRound, app, refusal, repeatingUrl, shortLivedUrl, story, untilRefused, user } from './environment.mjs'

// connect(url, client) returns the calls of one client {id, secret}; answers are as the library gives them.
// refused(error) returns {status, code} of what the library threw when the server refused.
export function oauthStories (version, { connect, refused }) {
  const client = { id: app.username, secret: app.password }
  const tell = (name, what) => story(version, name, async () => await what(await connect(repeatingUrl, client)))

  // The resource is Elasticsearch's API: any HTTP client uses it.
  const ask = async (path, token, url = repeatingUrl) =>
    await fetch(url + path, { headers: { authorization: `Bearer ${token}` } })

  async function accepted (token, username = user.username) {
    const answer = await ask('/_security/_authenticate', token)
    assert.equal(answer.status, 200)
    assert.equal((await answer.json()).username, username)
  }

  // Every node is likely to be asked, and each knows.
  async function notAccepted (token) {
    for (let i = 0; i < 3; i++) {
      const answer = await ask('/_security/_authenticate', token)
      assert.equal(answer.status, 401)
      await answer.body.cancel()
    }
  }

  async function refusedAs (promise, status, code) {
    assert.deepEqual(refused(await refusal(promise)), { status, code })
  }

  const ofPair = ({ access_token: access, refresh_token: refresh }) => ({ access, refresh })

  tell('issue', async (client) => {
    const pair = await client.password(user)
    assert.equal(pair.token_type.toLowerCase(), 'bearer')
    assert.equal(pair.expires_in, 1200)
    assert.notEqual(pair.access_token, pair.refresh_token)
  })

  tell('use', async (client) => {
    const pair = await client.password(user)
    await accepted(pair.access_token)
    const health = await ask('/_cluster/health', pair.access_token)
    assert.equal((await health.json()).number_of_nodes, 3)
  })

  tell('refresh', async (client) => {
    const pair = await client.password(user)
    const successor = await client.refresh(pair)
    assert.notEqual(successor.access_token, pair.access_token)
    assert.notEqual(successor.refresh_token, pair.refresh_token)
    await accepted(successor.access_token)
  })

  tell('repeated refresh', async (client) => {
    const pair = await client.password(user)
    const first = await client.refresh(pair)
    for (let i = 0; i < 8; i++) { // the balancer asks another node each time
      assert.deepEqual(ofPair(await client.refresh(pair)), ofPair(first))
    }
    await accepted((await client.refresh(first)).access_token)
  })

  tell('client credentials', async (client) => {
    const token = await client.clientCredentials()
    assert.equal(token.refresh_token, undefined)
    await accepted(token.access_token, app.username)
  })

  tell('scope', async (client) => {
    const narrow = await client.password({ ...user, scope: 'manage_token' }) // which says nothing about health
    assert.equal(narrow.scope, 'manage_token')
    await accepted(narrow.access_token)
    assert.equal((await ask('/_cluster/health', narrow.access_token)).status, 403)
    await refusedAs(client.refresh(narrow, { scope: 'monitor' }), 400, 'invalid_scope')
    const monitor = await client.password({ ...user, scope: 'manage_token monitor' })
    const narrower = await client.refresh(monitor, { scope: 'monitor' })
    assert.equal((await ask('/_cluster/health', narrower.access_token)).status, 200)
    await refusedAs(client.password({ ...user, scope: 'make_coffee' }), 400, 'invalid_scope')
  })

  tell('revoke access token', async (client) => {
    const pair = await client.password(user)
    await client.revokeAccess(pair)
    await notAccepted(pair.access_token)
    await accepted((await client.refresh(pair)).access_token) // the other half lives on
  })

  tell('revoke refresh token', async (client) => {
    const pair = await client.password(user)
    const successor = await client.refresh(pair)
    await client.revokeRefresh(successor)
    await notAccepted(successor.access_token) // all that came of the login ends
    await notAccepted(pair.access_token)
    await refusedAs(client.refresh(successor), 400, 'invalid_grant')
    await client.revokeRefresh(successor) // again: no error (RFC 7009, 2.2)
  })

  tell('wrong password', async (client) => {
    await refusedAs(client.password({ ...user, password: 'guessed' }), 400, 'invalid_grant')
  })

  tell('wrong secret', async () => {
    const stranger = await connect(repeatingUrl, { ...client, secret: 'guessed' })
    const { status, code } = refused(await refusal(stranger.password(user)))
    assert.equal(status, 401)
    assert.ok(code === 'invalid_client' || code === undefined, code) // a challenge hides the body from some
  })

  tell('expired', async () => {
    const shortLived = await connect(shortLivedUrl, client)
    const pair = await shortLived.password(user)
    const challenge = await untilRefused(async () => {
      const answer = await ask('/_security/_authenticate', pair.access_token, shortLivedUrl)
      await answer.body.cancel()
      if (answer.status !== 200) throw answer.headers.get('www-authenticate')
    })
    assert.match(challenge, /^Bearer .*error="invalid_token"/)
    const successor = await shortLived.refresh(pair)
    assert.notEqual(successor.access_token, pair.access_token)
  })

  tell('nodes lost', async (client) => {
    for (let again = await anotherRound(); again; again = await anotherRound()) {
      const pair = await client.password(user)
      await accepted(pair.access_token)
      const successor = await client.refresh(pair)
      await accepted(successor.access_token)
      await client.revokeRefresh(successor)
      await notAccepted(successor.access_token)
    }
  })

  return { tell, accepted, notAccepted }
}

// Stories of clients that can introspect.
export function introspectionStories ({ tell }) {
  tell('introspect', async (client) => {
    const pair = await client.password({ ...user, scope: 'monitor' })
    const told = await client.introspect(pair.access_token)
    assert.equal(told.active, true)
    assert.equal(told.username, user.username)
    assert.equal(told.client_id, app.username)
    assert.equal(told.scope, 'monitor')
    assert.equal(told.exp - told.iat, 1200)
    await client.revokeAccess(pair)
    assert.deepEqual(await client.introspect(pair.access_token), { active: false })
    assert.deepEqual(await client.introspect('never issued'), { active: false })
  })
}
