/** The App's own bot account; where GitHub does not say which that is, no account is. */
export function isOurs(
  user: { login: string; type?: string | undefined } | null | undefined,
  login: string | null,
): boolean {
  return user?.type === 'Bot' && login !== null && user.login.toLowerCase() === login.toLowerCase();
}
