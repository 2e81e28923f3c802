import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'

const EMPTY = Buffer.alloc(0)

/**
 * Joins a connection from the network with one to a local service, back to back: half-closes and back-pressure cross, an error of
 * one side resets the other. @param onError told why the service could not be reached or broke off
 */
export function splice(stream: Duplex, host: string, port: number, onError: (error: Error) => void): Socket {
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true })
  let isOver = false
  socket.on('error', (error) => {
    if (isOver) return
    isOver = true
    onError(error)
    stream.destroy(error)
  })
  stream.on('error', () => {
    if (isOver) return
    isOver = true
    socket.resetAndDestroy()
  })
  socket.on('close', () => {
    if (!stream.destroyed && !stream.writableEnded) stream.destroy()
  })
  stream.on('close', () => {
    if (!socket.destroyed && !socket.writableEnded) socket.destroy()
  })
  stream.pipe(socket)
  socket.pipe(stream, { end: false })
  // libuv reports a reset that comes while data is still unread as an end. A write of nothing tells them apart.
  socket.on('end', () => {
    if (socket.writableEnded) stream.end()
    else
      socket.write(EMPTY, (error) => {
        if (!error) stream.end()
      })
  })
  return socket
}
