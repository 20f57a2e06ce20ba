// simple-oauth2: told the endpoints, and keeps a pair as an AccessToken.
import { ClientCredentials, ResourceOwnerPassword } from 'simple-oauth2'
import { app, repeatingUrl, user, versionOf } from './environment.mjs'
import { oauthStories } from './oauth.mjs'

async function connect (url, client) {
  const config = { client, auth: { tokenHost: url, tokenPath: '/oauth2/token', revokePath: '/oauth2/revoke' } }
  const passwords = new ResourceOwnerPassword(config)
  return {
    password: async (parameters) => (await passwords.getToken(parameters)).token,
    refresh: async (pair, parameters) => (await passwords.createToken(pair).refresh(parameters)).token,
    clientCredentials: async () => (await new ClientCredentials(config).getToken({})).token,
    revokeAccess: async (pair) => await passwords.createToken(pair).revoke('access_token'),
    revokeRefresh: async (pair) => await passwords.createToken(pair).revoke('refresh_token')
  }
}

function refused (error) {
  if (!error.isBoom) throw error
  return { status: error.output.statusCode, code: error.data.payload.error }
}

const stories = oauthStories(versionOf('simple-oauth2'), { connect, refused })

stories.tell('as documented', async () => {
  const [issuer, clientId, clientSecret, { username, password }] = [repeatingUrl, app.username, app.password, user]

  const client = new ResourceOwnerPassword({
    client: { id: clientId, secret: clientSecret },
    auth: { tokenHost: issuer, tokenPath: '/oauth2/token', revokePath: '/oauth2/revoke' }
  })
  let pair = await client.getToken({ username, password })
  if (pair.expired(60)) pair = await pair.refresh() // a minute before it expires
  await pair.revoke('refresh_token') // logged out

  await stories.notAccepted(pair.token.access_token)
})
