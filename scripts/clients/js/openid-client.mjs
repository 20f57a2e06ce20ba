// openid-client: finds the endpoints by itself, below the issuer's URL.
import assert from 'node:assert/strict'
import * as client from 'openid-client'
import { app, repeatingUrl, user, versionOf } from './environment.mjs'
import { introspectionStories, oauthStories } from './oauth.mjs'

async function connect (issuer, { id, secret }) {
  const config = await client.discovery(new URL(issuer), id, secret)
  return {
    password: async (parameters) => await client.genericGrantRequest(config, 'password', parameters),
    refresh: async (pair, parameters) => await client.refreshTokenGrant(config, pair.refresh_token, parameters),
    clientCredentials: async () => await client.clientCredentialsGrant(config),
    revokeAccess: async (pair) => await client.tokenRevocation(config, pair.access_token),
    revokeRefresh: async (pair) => await client.tokenRevocation(config, pair.refresh_token),
    introspect: async (token) => await client.tokenIntrospection(config, token)
  }
}

function refused (error) {
  if (error instanceof client.ResponseBodyError) return { status: error.status, code: error.error }
  if (error instanceof client.WWWAuthenticateChallengeError) return { status: error.status, code: error.error }
  throw error
}

const stories = oauthStories(versionOf('openid-client'), { connect, refused })
introspectionStories(stories)

stories.tell('as documented', async () => {
  const [issuer, clientId, clientSecret, { username, password }] = [repeatingUrl, app.username, app.password, user]

  const config = await client.discovery(new URL(issuer), clientId, clientSecret)
  const pair = await client.genericGrantRequest(config, 'password', { username, password })
  const health = new URL('/_cluster/health', issuer)
  await client.fetchProtectedResource(config, pair.access_token, health, 'GET')
  const successor = await client.refreshTokenGrant(config, pair.refresh_token)
  const told = await client.tokenIntrospection(config, successor.access_token)
  await client.tokenRevocation(config, successor.refresh_token) // logged out

  await stories.notAccepted(successor.access_token)
  assert.equal(told.username, username)
})
