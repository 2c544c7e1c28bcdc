// node follow.mjs SOURCE_RPC FIRST LAST EVERY_MS CLIENT=ENGINE_URL=SECRET_FILE...
//
// Plays the consensus client of several execution clients: gives them one block after another, as SOURCE_RPC knows
// them, and names each the head, at its time whether or not the last one was taken. PAYLOADS is geth's
// newpayload.json. To geth every fifth block is named alone, and geth has to fetch it. The last head is named until all
// but moorline find it valid, twenty times at most.
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const TIMEOUT_MS = 30_000

function token(secretFile) {
  const secret = Buffer.from(readFileSync(secretFile, 'utf8').trim().replace(/^0x/, ''), 'hex')
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ iat: Math.floor(Date.now() / 1000) })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

async function call(url, method, params, secretFile) {
  if (new URL(url).hostname !== '127.0.0.1') throw new Error(`${url} is not on this machine`)
  const headers = { 'content-type': 'application/json' }
  if (secretFile) headers.authorization = `Bearer ${token(secretFile)}`
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const response = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(TIMEOUT_MS) })
  const { result, error } = await response.json()
  if (error) throw new Error(`${method}: ${error.code} ${error.message}`)
  return result
}

const [source, first, last, everyMs, ...clients] = process.argv.slice(2)
const driven = clients.map((text) => text.split('='))
const FETCHED_EVERY = 5
// ethereumjs loses the answer to one of two requests that are out at a time, and bans whom it asked: once it has
// caught up it is given every block
const mayFetch = (client) => client.startsWith('geth')
const payloads = new Map()
for (const { method, params } of JSON.parse(readFileSync(process.env.PAYLOADS, 'utf8'))) {
  payloads.set(Number(params[0].blockNumber), { method, params })
}

const busy = new Map()
const valid = new Map()
async function name([client, url, secret], number, hash) {
  if (busy.get(client)) return
  busy.set(client, true)
  try {
    const payload = payloads.get(number)
    if (payload && !(mayFetch(client) && number % FETCHED_EVERY === 3)) await call(url, payload.method, payload.params, secret)
    const state = { headBlockHash: hash, safeBlockHash: hash, finalizedBlockHash: '0x'.padEnd(66, '0') }
    const { payloadStatus } = await call(url, 'engine_forkchoiceUpdatedV3', [state, null], secret)
    if (payloadStatus.status === 'VALID') valid.set(client, number)
    console.log(client, number, payloadStatus.status)
  } catch (error) {
    console.log(client, number, error.message)
  } finally {
    busy.set(client, false)
  }
}

async function slot(number) {
  const { hash } = await call(source, 'eth_getBlockByNumber', [`0x${number.toString(16)}`, false])
  for (const client of driven) void name(client, number, hash)
  await sleep(Number(everyMs))
}

for (let number = Number(first); number <= Number(last); number++) await slot(number)
// a client that executes nothing never says VALID
const executing = driven.filter(([client]) => client !== 'moorline')
const haveIt = () => executing.every(([client]) => valid.get(client) === Number(last))
for (let again = 0; again < 20 && !haveIt(); again++) await slot(Number(last))
process.exit(haveIt() ? 0 : 1)
