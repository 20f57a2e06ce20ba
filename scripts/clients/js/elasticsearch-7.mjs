// @elastic/elasticsearch 7, before and after it began to check whom it speaks to (7.14).
import { once } from 'node:events'
import { ca, versionOf } from './environment.mjs'
import { elasticsearchStories } from './elasticsearch.mjs'

export function elasticsearch7 (installedAs, { Client, errors }) {
  function connect (url, auth) {
    const client = new Client({ node: url, auth, ssl: { ca } })
    const bearer = (token) => ({ headers: { authorization: `Bearer ${token}` } })
    const answer = ({ body, headers }) => ({ body, node: headers['x-served-by'] })
    return {
      info: async () => answer(await client.info()),
      ping: async () => answer(await client.ping()),
      getToken: async (body) => answer(await client.security.getToken({ body })),
      invalidateToken: async (body) => answer(await client.security.invalidateToken({ body })),
      authenticate: async (token) => answer(await client.security.authenticate({}, bearer(token))),
      health: async (token) => answer(await client.cluster.health({}, bearer(token))),
      discover: async () => {
        const sniffing = new Client({ node: url, auth, ssl: { ca }, sniffOnStart: true })
        const [error] = await once(sniffing, 'sniff')
        if (error) throw error
        await sniffing.security.authenticate()
        return sniffing.connectionPool.connections.map((connection) => connection.url.href)
      }
    }
  }
  elasticsearchStories(versionOf(installedAs), { connect, ResponseError: errors.ResponseError })
}
