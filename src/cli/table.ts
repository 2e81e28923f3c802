/** Rows of cells in columns, two spaces between them. @param rows all of the same length; the first is the head */
export function table(rows: readonly (readonly string[])[], indent = ''): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)))
  return rows.map((row) => `${indent}${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd())
}

/** `1.5 MB`. */
export function size(bytes: number): string {
  let value = bytes
  for (const unit of ['B', 'kB', 'MB', 'GB']) {
    if (value < 1000) return unit === 'B' ? `${value} B` : `${value.toFixed(1)} ${unit}`
    value /= 1000
  }
  return `${value.toFixed(1)} TB`
}

/** `12.3 s`, `5 min`, `3 h 20 min`. */
export function duration(us: number): string {
  const s = us / 1e6
  if (s < 120) return `${s.toFixed(1)} s`
  const minutes = Math.floor(s / 60)
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** `9.41 Mbit/s`. */
export function bitRate(bytesPerSecond: number): string {
  let value = bytesPerSecond * 8
  for (const unit of ['bit/s', 'kbit/s', 'Mbit/s']) {
    if (value < 1000) return unit === 'bit/s' ? `${value.toFixed(0)} ${unit}` : `${value.toFixed(2)} ${unit}`
    value /= 1000
  }
  return `${value.toFixed(2)} Gbit/s`
}
