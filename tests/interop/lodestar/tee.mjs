// node tee.mjs PORT EXECUTION_URL MOORLINE_URL LOG
//
// The Engine API as a consensus client sees it: every call goes to the execution client, whose answer goes
// back. Payloads and forkchoices also go to Moorline, with the token they came with, one after another in
// the order they came, each when the execution client has answered it and so can serve its block. What
// Moorline answered is one line of JSON in LOG.
import { appendFileSync } from 'node:fs'
import http from 'node:http'

const TIMEOUT_MS = 30_000
const MIRRORED = /^engine_(newPayload|forkchoiceUpdated)V\d$/

const [port, executionUrl, moorlineUrl, logFile] = process.argv.slice(2)
for (const url of [executionUrl, moorlineUrl]) {
  if (new URL(url).hostname !== '127.0.0.1') throw new Error(`${url} is not on this machine`)
}

async function post(url, body, authorization) {
  const headers = { 'content-type': 'application/json', authorization }
  try {
    const response = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(TIMEOUT_MS) })
    return { code: response.status, text: await response.text() }
  } catch (error) {
    const reason = error.cause?.code ?? error.name
    return { code: 502, text: JSON.stringify({ error: { message: reason } }), reason }
  }
}

const UNREACHABLE = ['ECONNREFUSED', 'ECONNRESET', 'UND_ERR_SOCKET']

function statusOf({ code, text, reason }) {
  if (reason) return UNREACHABLE.includes(reason) ? 'unreachable' : reason
  if (code !== 200) return `HTTP ${code}`
  const { result, error } = JSON.parse(text)
  return error ? `error ${error.code}: ${error.message}` : (result?.payloadStatus ?? result)?.status
}

function namesOf({ method, params: [first] }) {
  if (method.includes('newPayload')) return { number: Number(first.blockNumber), hash: first.blockHash }
  return { hash: first.headBlockHash, safe: first.safeBlockHash, finalized: first.finalizedBlockHash }
}

async function mirror(body, call, authorization, execution) {
  const started = performance.now()
  const answer = await post(moorlineUrl, body, authorization)
  const elapsed_ms = Math.round(performance.now() - started)
  const line = { at: Date.now(), method: call.method, ...namesOf(call), execution: statusOf(execution), status: statusOf(answer), elapsed_ms }
  appendFileSync(logFile, `${JSON.stringify(line)}\n`)
}

let mirrored = Promise.resolve()

async function take(request, response) {
  let body = ''
  for await (const part of request.setEncoding('utf8')) body += part
  const { authorization } = request.headers
  const execution = post(executionUrl, body, authorization)
  const call = JSON.parse(body)
  if (MIRRORED.test(call.method)) {
    mirrored = mirrored.then(async () => mirror(body, call, authorization, await execution)).catch(console.error)
  }
  const { code, text } = await execution
  response.writeHead(code, { 'content-type': 'application/json' }).end(text)
}

http
  .createServer((request, response) => {
    take(request, response).catch((error) => {
      console.error(error)
      response.destroy()
    })
  })
  .listen(Number(port), '127.0.0.1', () => console.log(`listening on 127.0.0.1:${port}`))
