// @elastic/elasticsearch 8 and 9: calls return the body, or all of the answer when asked for meta.
import { ca, versionOf } from './environment.mjs'
import { elasticsearchStories } from './elasticsearch.mjs'

export function elasticsearch8 (installedAs, { Client, errors }) {
  function connect (url, auth) {
    const client = new Client({ node: url, auth, tls: { ca } })
    const withToken = (token) => new Client({ node: url, auth: { bearer: token }, tls: { ca } })
    const meta = { meta: true }
    const answer = ({ body, headers }) => ({ body, node: headers['x-served-by'] })
    return {
      info: async () => ({ body: await client.info() }),
      ping: async () => ({ body: await client.ping() }),
      getToken: async (request) => answer(await client.security.getToken(request, meta)),
      invalidateToken: async (request) => answer(await client.security.invalidateToken(request, meta)),
      authenticate: async (token) => ({ body: await withToken(token).security.authenticate() }),
      health: async (token) => ({ body: await withToken(token).cluster.health() }),
      discover: async () => {
        const sniffing = new Client({ node: url, auth, tls: { ca }, sniffOnStart: true })
        await new Promise((resolve, reject) => {
          sniffing.diagnostic.on('sniff', (error) => error ? reject(error) : resolve())
        })
        await sniffing.security.authenticate()
        return sniffing.connectionPool.connections.map((connection) => connection.url.href)
      }
    }
  }
  elasticsearchStories(versionOf(installedAs), { connect, ResponseError: errors.ResponseError })
}
