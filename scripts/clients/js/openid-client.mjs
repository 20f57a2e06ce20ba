// openid-client: finds the endpoints by itself, below the issuer's URL.
import * as client from 'openid-client'
import { versionOf } from './environment.mjs'
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

introspectionStories(oauthStories(versionOf('openid-client'), { connect, refused }))
