// @elastic/elasticsearch 6: security is an extension, xpack, and answers have a body.
import { once } from 'node:events'
import es6 from 'es6'
import { ca, versionOf } from './environment.mjs'
import { elasticsearchStories } from './elasticsearch.mjs'

const { Client, errors } = es6

function connect (url, auth) {
  const client = new Client({ node: url, auth, ssl: { ca } })
  const bearer = (token) => ({ headers: { authorization: `Bearer ${token}` } })
  const answer = ({ body, headers }) => ({ body, node: headers['x-served-by'] })
  return {
    info: async () => answer(await client.info()),
    ping: async () => answer(await client.ping()),
    getToken: async (body) => answer(await client.xpack.security.getToken({ body })),
    invalidateToken: async (body) => answer(await client.xpack.security.invalidateToken({ body })),
    authenticate: async (token) => answer(await client.xpack.security.authenticate({}, bearer(token))),
    health: async (token) => answer(await client.cluster.health({}, bearer(token))),
    discover: async () => {
      const sniffing = new Client({ node: url, auth, ssl: { ca }, sniffOnStart: true })
      const [error] = await once(sniffing, 'sniff')
      if (error) throw error
      await sniffing.xpack.security.authenticate()
      return [...sniffing.connectionPool.connections.values()].map((connection) => connection.url.href)
    }
  }
}

elasticsearchStories(versionOf('es6'), { connect, ResponseError: errors.ResponseError, formerly: { created: true } })
