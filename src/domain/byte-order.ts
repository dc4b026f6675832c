/** From here on UTF-16 orders in another way than UTF-8: pairs of surrogates stand before what has no need of one. */
const SURROGATES = 0xd800;
const BEHIND_SURROGATES = 0xe000;

/**
 * Compares two texts by their bytes in UTF-8, as PostgreSQL's "C" collation does: the order in which rows are locked.
 *
 * @returns less than 0 when the first one comes first, more when the second one does, 0 when they are the same
 */
export function compareBytes(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const [one, other] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (one !== other) return rankOf(one) - rankOf(other);
  }
  return a.length - b.length;
}

function rankOf(unit: number): number {
  if (unit < SURROGATES) return unit;
  return unit >= BEHIND_SURROGATES ? unit - BEHIND_SURROGATES + SURROGATES : unit + BEHIND_SURROGATES;
}
