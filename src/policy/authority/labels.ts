/**
 * The first of these labels that is the App's own: the one by which people ask for a run, or one that says how a run goes. On a pull
 * request they would say what nobody said.
 */
export function ownLabel(labels: readonly string[], trigger: string): string | undefined {
  const own = trigger.toLowerCase();
  return labels.find((label) => label.toLowerCase() === own || label.toLowerCase().startsWith(`${own}:`));
}
