import client from 'es7.13'
import { elasticsearch7 } from './elasticsearch-7.mjs'

elasticsearch7('es7.13', client)
