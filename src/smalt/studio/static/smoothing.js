/** An exponential mean of numbers (null: none), as others draw it: `weight` from 0 (as they are) to 1, without a bias at the beginning. */
export function smoothed(values, weight) {
  if (!weight) return values;
  let [last, kept] = [0, 0];
  return values.map((value) => {
    if (value == null) return value;
    last = last * weight + value * (1 - weight);
    kept = kept * weight + (1 - weight);
    return last / kept;
  });
}
