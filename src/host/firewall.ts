/** How to take back what was admitted in a foreign firewall; kept in the state file. */
export type FirewallUndo =
  | { readonly kind: 'exec'; readonly argv: readonly string[] }
  /** Rules with this comment; their handles are looked up then. */
  | { readonly kind: 'nft'; readonly family: string; readonly table: string; readonly chain: string; readonly comment: string }
