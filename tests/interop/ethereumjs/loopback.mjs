// Preloaded into @ethereumjs/client, which listens on 0.0.0.0 and takes no flag against it: whatever
// listens, listens on 127.0.0.1, and whatever would leave this machine fails.
import dgram from 'node:dgram'
import dns from 'node:dns'
import net from 'node:net'

const LOOPBACK = '127.0.0.1'
const staysHere = (host) => host === undefined || host === 'localhost' || host === '::1' || host.startsWith('127.')

function wrap(owner, name, around) {
  const original = owner[name]
  owner[name] = function (...args) {
    return around.call(this, (...changed) => original.apply(this, changed), ...args)
  }
}

// listen(port, host?, ...) and bind(port, address?, ...): the second argument is ours, or is put there
const atLoopback = ([port, second, ...rest]) =>
  typeof second === 'string' ? [port, LOOPBACK, ...rest] : [port, LOOPBACK, ...(second === undefined ? [] : [second]), ...rest]

wrap(net.Server.prototype, 'listen', function (listen, first, ...rest) {
  if (typeof first === 'object' && first !== null && 'port' in first) return listen({ ...first, host: LOOPBACK }, ...rest)
  if (Number.isInteger(Number(first)) && first !== null) return listen(...atLoopback([Number(first), ...rest]))
  return listen(first, ...rest)
})

wrap(dgram.Socket.prototype, 'bind', function (bind, first, ...rest) {
  if (typeof first === 'object' && first !== null) return bind({ ...first, address: LOOPBACK }, ...rest)
  if (typeof first === 'number') return bind(...atLoopback([first, ...rest]))
  return bind(0, LOOPBACK, ...(first === undefined ? [] : [first]))
})

function refusal(what) {
  const error = new Error(`refused: ${what} would leave this machine`)
  console.error(error.message)
  return error
}

wrap(net.Socket.prototype, 'connect', function (connect, ...args) {
  // net.connect() passes its arguments on as one normalised array
  const [first, second] = Array.isArray(args[0]) ? args[0] : args
  const toFile = typeof first === 'object' && first?.path
  const host = typeof first === 'object' ? first?.host : typeof second === 'string' ? second : undefined
  if (toFile || staysHere(host)) return connect(...args)
  const error = refusal(`a connection to ${host}`)
  process.nextTick(() => this.destroy(error))
  return this
})

wrap(dgram.Socket.prototype, 'send', function (send, ...args) {
  const host = args.slice(1).find((argument) => typeof argument === 'string')
  if (staysHere(host)) return send(...args)
  refusal(`a datagram to ${host}`)
  args.find((argument) => typeof argument === 'function')?.(null, 0)
})

for (const name of ['resolve', 'resolve4', 'resolve6', 'resolveTxt']) {
  dns[name] = (host, ...rest) => rest.at(-1)(refusal(`a query for ${host}`))
  dns.promises[name] = (host) => Promise.reject(refusal(`a query for ${host}`))
}
