import * as client from 'es9'
import { elasticsearch8 } from './elasticsearch-8-9.mjs'

elasticsearch8('es9', client)
