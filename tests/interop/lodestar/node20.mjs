// Preloaded into Lodestar 1.5.1, whose dependencies of today use what Node has only from version 22 on.
Promise.withResolvers ??= function () {
  const settle = {}
  settle.promise = new this((resolve, reject) => Object.assign(settle, { resolve, reject }))
  return settle
}
