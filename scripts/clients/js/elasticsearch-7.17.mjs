import client from 'es7.17'
import { elasticsearch7 } from './elasticsearch-7.mjs'

elasticsearch7('es7.17', client)
