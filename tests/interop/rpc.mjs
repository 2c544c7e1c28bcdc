// node rpc.mjs URL METHOD PARAMS [FIELD.FIELD]     one JSON-RPC call; prints the result, or a field of it
// node rpc.mjs URL FILE.json [FIELD.FIELD]         the same with the request in a file
//
// With JWT_SECRET naming a file of 32 bytes in hex, the call carries the Engine API's token (HS256).
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'

const TIMEOUT_MS = 10_000

function token(secretFile) {
  const secret = Buffer.from(readFileSync(secretFile, 'utf8').trim().replace(/^0x/, ''), 'hex')
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims = { iat: Math.floor(Date.now() / 1000) }
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

function read([first, ...rest]) {
  if (first.endsWith('.json')) return { request: JSON.parse(readFileSync(first, 'utf8')), path: rest[0] }
  const request = { jsonrpc: '2.0', id: 1, method: first, params: JSON.parse(rest[0] ?? '[]') }
  return { request, path: rest[1] }
}

const [url, ...args] = process.argv.slice(2)
if (new URL(url).hostname !== '127.0.0.1') throw new Error(`${url} is not on this machine`)
const { request, path } = read(args)
const headers = { 'content-type': 'application/json' }
if (process.env.JWT_SECRET) headers.authorization = `Bearer ${token(process.env.JWT_SECRET)}`

try {
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(request), signal })
  const text = await response.text()
  if (!response.ok) throw new Error(`HTTP ${response.status}: ${text.slice(0, 200)}`)
  const { result, error } = JSON.parse(text)
  if (error) throw new Error(`${error.code}: ${error.message}`)
  const value = (path ? path.split('.') : []).reduce((at, key) => at?.[key], result)
  console.log(typeof value === 'string' ? value : JSON.stringify(value))
} catch (error) {
  console.error(`${request.method} at ${url} failed: ${error.cause?.message ?? error.message}`)
  process.exit(1)
}
