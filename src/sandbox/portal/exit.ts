/** Exit codes of the portal, by which the host tells why a container ended. Never 2: that is what a crashed gVisor kernel gives. */
export const PORTAL_EXIT = { failed: 70, gatewayLost: 71, deadline: 72 } as const;
