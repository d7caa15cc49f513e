// Prometheus text to numbers, and what two readings say of the time between them.

/** Samples [{name, labels, value}] of an exposition. */
export function parse(text) {
  return text.split("\n").filter((line) => line && !line.startsWith("#")).map((line) => {
    const [, name, inner, value] = line.match(/^([\w:]+)(?:\{(.*)\})?\s+(\S+)/) ?? [];
    const labels = {};
    for (const [, key, word] of (inner ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[key] = word;
    return { name, labels, value: Number(value?.replace("Inf", "Infinity")) };
  }).filter((sample) => sample.name);
}

/** Sum of a metric, over the samples whose labels `want` accepts. */
export function sum(samples, name, want = () => true) {
  return samples.filter((sample) => sample.name === name && want(sample.labels)).reduce((total, { value }) => total + value, 0);
}

/** {count, mean, p50, p95} of a histogram in the time between two readings. */
export function between(before, now, name, want) {
  const grown = (suffix, accept) => sum(now, name + suffix, accept) - sum(before, name + suffix, accept);
  const count = grown("_count", want);
  if (count <= 0) return { count: 0, mean: null, p50: null, p95: null };
  const edges = [...new Set(now.filter((s) => s.name === `${name}_bucket` && want(s.labels)).map((s) => s.labels.le))];
  const cumulative = edges.map((le) => ({
    edge: Number(le.replace("+Inf", "Infinity")),
    seen: grown("_bucket", (labels) => want(labels) && labels.le === le),
  })).sort((a, b) => a.edge - b.edge);
  return { count, mean: grown("_sum", want) / count, p50: quantile(cumulative, 0.5 * count), p95: quantile(cumulative, 0.95 * count) };
}

/** [{edge, count}] of a histogram: how many observations lie between the edge before and this one. */
export function buckets(samples, name) {
  const edges = new Map();
  for (const { name: own, labels, value } of samples) {
    if (own === `${name}_bucket`) edges.set(labels.le, (edges.get(labels.le) ?? 0) + value);
  }
  const sorted = [...edges].map(([le, seen]) => ({ edge: Number(le.replace("+Inf", "Infinity")), seen })).sort((a, b) => a.edge - b.edge);
  return sorted.map(({ edge, seen }, index) => ({ edge, count: seen - (sorted[index - 1]?.seen ?? 0) }));
}

function quantile(cumulative, rank) {
  let [below, edgeBelow] = [0, 0];
  for (const { edge, seen } of cumulative) {
    if (seen >= rank) {
      if (edge === Infinity) return edgeBelow;
      return edgeBelow + (edge - edgeBelow) * ((rank - below) / Math.max(seen - below, 1e-9));
    }
    [below, edgeBelow] = [seen, edge];
  }
  return edgeBelow;
}
