// What stands at the ticks of an axis of numbers: enough digits to tell them apart, also of a learning rate of 0.00001.
const plain = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 6 });
const PLAIN_LEAST = 1e-4;

const said = (one) => (one && Math.abs(one) < PLAIN_LEAST ? Number(one.toPrecision(4)).toExponential() : plain.format(one));

/** As uPlot asks for them; null where a logarithmic axis says nothing. */
export const ticks = (_, places) => places.map((one) => (one == null ? "" : said(one)));
