// node sender.mjs address INSTALL_DIR          prints the account that the genesis has to fund
// node sender.mjs send INSTALL_DIR RPC_URL     sends a transfer every second until it is killed
//
// An empty block is made and not fetched, so without transactions a peer would never be asked for a body.
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

const EVERY_MS = 1000
const GAS_PRICE_MAX = 30_000_000_000n

const [command, installDir, url] = process.argv.slice(2)
const load = createRequire(join(installDir, 'package.json'))
const { createCustomCommon, Mainnet } = load('@ethereumjs/common')
const { createFeeMarket1559Tx, createLegacyTx } = load('@ethereumjs/tx')
const { createAddressFromPrivateKey, bytesToHex } = load('@ethereumjs/util')

const key = new Uint8Array(createHash('sha256').update('moorline interop sender').digest())
const sender = createAddressFromPrivateKey(key).toString()

async function call(method, ...params) {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  const { result, error } = await response.json()
  if (error) throw new Error(`${method}: ${error.message}`)
  return result
}

function transferOf(nonce, chainId, common) {
  const to = `0x${(0xabc000 + nonce).toString(16).padStart(40, '0')}`
  const transfer = { nonce, to, value: 1n, gasLimit: 60_000, data: `0x${'5a'.repeat(nonce % 64)}` }
  return nonce % 2 === 0
    ? createLegacyTx({ ...transfer, gasPrice: GAS_PRICE_MAX }, { common })
    : createFeeMarket1559Tx({ ...transfer, chainId, maxFeePerGas: GAS_PRICE_MAX, maxPriorityFeePerGas: 1n }, { common })
}

async function send() {
  const chainId = Number(await call('eth_chainId'))
  const common = createCustomCommon({ chainId }, Mainnet, { hardfork: 'shanghai' })
  for (let nonce = 0; ; await pause(EVERY_MS)) {
    try {
      const signed = transferOf(nonce, chainId, common).sign(key)
      console.log(nonce, await call('eth_sendRawTransaction', bytesToHex(signed.serialize())))
      nonce++
    } catch (error) {
      console.log(nonce, error.message)
    }
  }
}

if (command === 'address') console.log(sender)
else await send()
