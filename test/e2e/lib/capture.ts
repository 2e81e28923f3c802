import type { Background } from './exec.js'
import type { Lab, Namespace } from './lab.js'

/** Packets of one device, in a pcap file of the lab's directory. */
export class Capture {
  readonly path: string
  private readonly process: Background

  private constructor(path: string, process: Background) {
    this.path = path
    this.process = process
  }

  /** Starts tcpdump and waits until it listens. `filter` is a pcap expression; `snapLen` bytes of each packet are kept. */
  static async start(
    lab: Pick<Lab, 'dir'>,
    ns: Pick<Namespace, 'name' | 'spawn'>,
    device: string,
    filter = '',
    snapLen = 200,
  ): Promise<Capture> {
    const path = `${lab.dir}/${ns.name}-${device}.pcap`
    const words = filter === '' ? [] : [filter]
    const process = ns.spawn([
      'tcpdump',
      '-i',
      device,
      '-s',
      String(snapLen),
      '-B',
      '8192',
      '-U',
      '--immediate-mode',
      '-Z',
      'root',
      '-w',
      path,
      ...words,
    ])
    await process.waitLine(/listening on/)
    return new Capture(path, process)
  }

  /** Ends the capture; the packets as tcpdump prints them, a line each, with their time since the first. */
  async stop(ns: Pick<Namespace, 'ok'>): Promise<string[]> {
    await this.process.stop('SIGINT')
    const { stdout } = await ns.ok(['tcpdump', '-nn', '-ttttt', '-r', this.path])
    return stdout.split('\n').filter((line) => line !== '')
  }
}
