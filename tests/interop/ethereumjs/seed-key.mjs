// node seed-key.mjs INSTALL_DIR CONFIG_DIR KEY_HEX
//
// Puts a devp2p key where @ethereumjs/client looks for its own. Left to itself it makes a new one at
// every start, and with it a new enode.
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const [installDir, configDir, keyHex] = process.argv.slice(2)
const { Level } = createRequire(join(installDir, 'package.json'))('level')

mkdirSync(configDir, { recursive: true })
const database = new Level(configDir)
await database.put('config:client_key', Buffer.from(keyHex, 'hex'), { keyEncoding: 'utf8', valueEncoding: 'buffer' })
await database.close()
