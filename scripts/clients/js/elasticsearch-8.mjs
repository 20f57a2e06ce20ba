import * as client from 'es8'
import { elasticsearch8 } from './elasticsearch-8-9.mjs'

elasticsearch8('es8', client)
