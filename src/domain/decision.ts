/** Why something was refused. Reports, metrics and tests use these words; add one here before you deny for a new reason. */
export const DENY_REASONS = [
  'malformed',
  'not_allowed',
  'denied_by_policy',
  'ip_literal',
  'port_not_allowed',
  'address_forbidden',
  'name_not_found',
  'name_limit',
  'record_type',
  'resolver_failed',
  'dial_failed',
  'not_tls',
  'sni_missing',
  'sni_mismatch',
  'ech_refused',
  'host_mismatch',
  'method_not_allowed',
  'path_not_allowed',
  'upgrade_not_allowed',
  'certificate_invalid',
  'certificate_revoked',
  'too_large',
  'too_many_connections',
  'timeout',
  'bytes_limit',
  'miss_limit',
  'git_push',
  'git_repository_not_allowed',
  'llm_endpoint',
  'llm_field',
  'llm_server_tool',
  'llm_url_source',
  'llm_model_not_allowed',
  'llm_unpriced',
  'llm_budget',
  'llm_turns',
  'llm_closed',
  'llm_unaccounted',
  'no_write_access',
  'not_an_asker',
  'teams_unreadable',
  'bot',
  'queue_full',
  'closed',
  'ref_not_allowed',
  'held',
  'not_held',
  'host_gone',
  'github_refused',
  'audit_unavailable',
] as const;

export type DenyReason = (typeof DENY_REASONS)[number];

/** Every yes/no of Cofferdam. `rule` names what decided: a line of the policy, a built-in rule, or `default`. A denial is a value, not an error. */
export type Decision = { allow: true; rule: string } | { allow: false; rule: string; reason: DenyReason };

/** Begins the rule of a denial that no policy changes. */
export const BUILT_IN = 'built-in';
/** The rule of a denial that the far end is the cause of. */
export const UPSTREAM = 'upstream';

export function allow(rule: string): Decision & { allow: true } {
  return { allow: true, rule };
}

export function deny(rule: string, reason: DenyReason): Decision & { allow: false } {
  return { allow: false, rule, reason };
}
