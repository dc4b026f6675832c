/**
 * Which addresses events may be pushed to: those of the public internet, and networks that a setting allows. A URL, or what a name
 * server answers, must not lead into the network that the worker stands in.
 */
import ipaddr from "ipaddr.js";

/** Says why an address is refused; undefined when it is not. */
export type AddressCheck = (address: string) => string | undefined;

/** An address and the length of a network's prefix. */
type Network = [ipaddr.IPv4 | ipaddr.IPv6, number];

/** IPv6 addresses of the public internet begin with these three bits; everything else is special, or has been. */
const GLOBAL_IPV6: Network = [ipaddr.IPv6.parse("2000::"), 3];

/**
 * Creates the check.
 *
 * @param options.allowed networks that may be reached although they are not public
 * @param options.onlyAllowed whether public addresses are refused, too
 */
export function createAddressCheck(options: { allowed: readonly string[]; onlyAllowed: boolean }): AddressCheck {
  const allowed = options.allowed.map((text) => ipaddr.parseCIDR(text));
  return (text) => {
    if (!ipaddr.isValid(text)) return `${text} is no address`;
    // An IPv4 address in the clothes of IPv6 is judged as what it is.
    const address = ipaddr.process(text);
    if (allowed.some((network) => isWithin(address, network))) return undefined;
    const range = address.range();
    if (range !== "unicast" || (address.kind() === "ipv6" && !isWithin(address, GLOBAL_IPV6)))
      return `${address.toString()} is not public (${range === "unicast" ? "reserved" : range})`;
    return options.onlyAllowed ? `${address.toString()} is not among the allowed networks` : undefined;
  };
}

function isWithin(address: ipaddr.IPv4 | ipaddr.IPv6, network: Network): boolean {
  return address.kind() === network[0].kind() && address.match(network);
}
