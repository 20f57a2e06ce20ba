// oauth4webapi: each step is the caller's; the endpoints come from RFC 8414's metadata.
import * as oauth from 'oauth4webapi'
import { app, repeatingUrl, user, versionOf } from './environment.mjs'
import { introspectionStories, oauthStories } from './oauth.mjs'

async function connect (url, { id, secret }) {
  const issuer = new URL(url)
  const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2' })
  const server = await oauth.processDiscoveryResponse(issuer, found)
  const client = { client_id: id }
  const authentication = oauth.ClientSecretBasic(secret)
  const revoke = async (token) =>
    await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, authentication, token))
  return {
    password: async (parameters) => {
      const answer = await oauth.genericTokenEndpointRequest(server, client, authentication, 'password', parameters)
      return await oauth.processGenericTokenEndpointResponse(server, client, answer)
    },
    refresh: async (pair, additionalParameters) => {
      const answer = await oauth.refreshTokenGrantRequest(server, client, authentication, pair.refresh_token, { additionalParameters })
      return await oauth.processRefreshTokenResponse(server, client, answer)
    },
    clientCredentials: async () => {
      const answer = await oauth.clientCredentialsGrantRequest(server, client, authentication, {})
      return await oauth.processClientCredentialsResponse(server, client, answer)
    },
    revokeAccess: async (pair) => await revoke(pair.access_token),
    revokeRefresh: async (pair) => await revoke(pair.refresh_token),
    introspect: async (token) => {
      const answer = await oauth.introspectionRequest(server, client, authentication, token)
      return await oauth.processIntrospectionResponse(server, client, answer)
    }
  }
}

function refused (error) {
  if (error instanceof oauth.ResponseBodyError) return { status: error.status, code: error.error }
  if (error instanceof oauth.WWWAuthenticateChallengeError) return { status: error.status, code: undefined }
  throw error
}

const stories = oauthStories(versionOf('oauth4webapi'), { connect, refused })
introspectionStories(stories)

stories.tell('as documented', async () => {
  const [issuer, clientId, clientSecret, { username, password }] = [new URL(repeatingUrl), app.username, app.password, user]

  const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2' })
  const server = await oauth.processDiscoveryResponse(issuer, found)
  const client = { client_id: clientId }
  const authentication = oauth.ClientSecretBasic(clientSecret)
  const answer = await oauth.genericTokenEndpointRequest(server, client, authentication, 'password', { username, password })
  const pair = await oauth.processGenericTokenEndpointResponse(server, client, answer)
  const again = await oauth.refreshTokenGrantRequest(server, client, authentication, pair.refresh_token)
  const successor = await oauth.processRefreshTokenResponse(server, client, again)
  const bye = await oauth.revocationRequest(server, client, authentication, successor.refresh_token)
  await oauth.processRevocationResponse(bye)

  await stories.notAccepted(successor.access_token)
})
