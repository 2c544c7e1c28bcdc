// What Moorline did while a consensus client drove it. LOG is what tee.mjs wrote, MOORLINE and EXECUTION
// are the addresses of JSON-RPC servers.
//
//   watch.mjs mark        LOG up|down                       write down that Moorline is up, or is to be killed
//   watch.mjs caught-up   LOG MOORLINE EXECUTION            Moorline is at the head that was named last
//   watch.mjs follow      LOG MOORLINE EXECUTION HEADS      it stays there while so many heads are named
//   watch.mjs checkpoints LOG MOORLINE EXECUTION            it shows the safe and the finalized block that were named
//   watch.mjs chain       LOG MOORLINE EXECUTION            all its blocks are those of the execution client
//   watch.mjs calls       LOG                               how the calls were answered while it was up
//
// Exits with 1 when that is not so.
import { appendFileSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

const SLOT_MS = 3000
const SAMPLE_MS = 100
const ANSWER_MS_MAX = 1000
const BEHIND_MAX = 1
const ZERO = `0x${'00'.repeat(32)}`
const ANSWERS = ['SYNCING', 'ACCEPTED']

const [command, logFile, ...args] = process.argv.slice(2)
const [moorline, execution] = args
const problems = []
const problem = (text) => problems.push(text)

async function call(url, method, ...params) {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(5000) })
  const { result, error } = await response.json()
  if (error) throw new Error(`${method} ${params}: ${error.code} ${error.message}`)
  return result
}

const height = async (url) => Number(await call(url, 'eth_blockNumber'))
const blockAt = (url, number) => call(url, 'eth_getBlockByNumber', typeof number === 'number' ? `0x${number.toString(16)}` : number, false)
const lines = () => readFileSync(logFile, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line))
const lastForkchoice = () => lines().findLast(({ method }) => method?.includes('forkchoice'))

const numbers = new Map()
async function numberOf(hash) {
  if (!numbers.has(hash)) numbers.set(hash, Number((await call(execution, 'eth_getBlockByHash', hash, false)).number))
  return numbers.get(hash)
}

const quantile = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]
function spread(values) {
  const sorted = values.toSorted((a, b) => a - b)
  return `median ${quantile(sorted, 0.5)} ms, p99 ${quantile(sorted, 0.99)} ms, most ${sorted.at(-1)} ms of ${sorted.length}`
}

async function caughtUp() {
  const { hash } = lastForkchoice()
  const tip = await blockAt(moorline, 'latest')
  console.log(`the head is ${await numberOf(hash)}, moorline at ${Number(tip.number)}`)
  if (tip.hash !== hash) problem('it is not at the head')
  else if ((await call(moorline, 'eth_syncing')) !== false) problem('it says that it is syncing')
}

async function checkpointsOf(forkchoice) {
  const shown = []
  for (const tag of ['safe', 'finalized']) {
    if (forkchoice[tag] === ZERO) continue
    const block = await blockAt(moorline, tag)
    shown.push(`${tag} ${Number(block.number)}`)
    if (block.hash === forkchoice[tag]) continue
    // another forkchoice may have come meanwhile, but then it soon is in the log
    await pause(SLOT_MS / 3)
    if (lastForkchoice().at === forkchoice.at) problem(`${forkchoice[tag]} is ${tag}, and ${block.hash} is shown`)
  }
  return shown.join(', ')
}

async function checkpoints() {
  const forkchoice = lastForkchoice()
  if (forkchoice.finalized === ZERO || (await numberOf(forkchoice.finalized)) === 0) problem('nothing is finalized')
  else console.log(await checkpointsOf(forkchoice))
}

async function follow(heads) {
  const deadline = Date.now() + (heads + 1) * SLOT_MS * 2
  const first = lastForkchoice().hash
  const took = new Map()
  let behindSince
  while (took.size < heads && Date.now() < deadline) {
    await pause(SAMPLE_MS)
    const forkchoice = lastForkchoice()
    const number = await numberOf(forkchoice.hash)
    const behind = number - (await height(moorline))
    // a disk that others keep busy may hold it up for a moment, and no more
    behindSince = behind > BEHIND_MAX ? (behindSince ?? Date.now()) : undefined
    if (Date.now() - behindSince > SLOT_MS) problem(`at ${new Date().toISOString()} it was ${behind} blocks behind ${number}`)
    if (behind > 0 || forkchoice.hash === first || took.has(forkchoice.hash)) continue
    took.set(forkchoice.hash, Date.now() - forkchoice.at)
    console.log(number, await checkpointsOf(forkchoice))
  }
  if (took.size < heads) problem(`only ${took.size} heads were reached in ${(heads + 1) * 2} slots`)
  else console.log(`reached ${spread([...took.values()])}`)
}

async function sameChain() {
  const top = await height(execution)
  if ((await height(moorline)) !== top) problem(`it is at ${await height(moorline)}, the execution client at ${top}`)
  let transactions = 0
  for (let number = 0; number <= top; number++) {
    const [ours, theirs] = await Promise.all([blockAt(moorline, number), blockAt(execution, number)])
    transactions += theirs.transactions.length
    if (ours?.hash !== theirs.hash) problem(`block ${number} is ${ours?.hash} here and ${theirs.hash} there`)
    else if (String(ours.transactions) !== String(theirs.transactions)) problem(`block ${number} has other transactions`)
  }
  console.log(`blocks 0 to ${top}, ${transactions} transactions`)
}

function calls() {
  let up = Infinity
  const times = { newPayload: [], forkchoiceUpdated: [] }
  const answers = {}
  for (const { mark, at, method, status, elapsed_ms, hash } of lines()) {
    if (mark) up = mark === 'up' ? at : Infinity
    // what was on its way when it was killed, or before it was up, may fail
    if (mark || at - elapsed_ms < up) continue
    times[method.replace(/engine_|V\d/g, '')].push(elapsed_ms)
    answers[status] = (answers[status] ?? 0) + 1
    if (!ANSWERS.includes(status)) problem(`${method} ${hash} was answered ${status}`)
    if (elapsed_ms > ANSWER_MS_MAX) problem(`${method} ${hash} took ${elapsed_ms} ms`)
  }
  console.log(JSON.stringify(answers))
  for (const [method, of] of Object.entries(times)) {
    if (of.length === 0) problem(`there was no ${method}`)
    else console.log(`${method}: ${spread(of)}`)
  }
}

const commands = {
  mark: () => appendFileSync(logFile, `${JSON.stringify({ at: Date.now(), mark: args[0] })}\n`),
  'caught-up': caughtUp,
  follow: () => follow(Number(args[2])),
  checkpoints,
  chain: sameChain,
  calls,
}

try {
  await commands[command]()
} catch (error) {
  problem(error.cause?.message ?? error.message)
}
for (const text of problems) console.error(text)
process.exitCode = problems.length === 0 ? 0 : 1
