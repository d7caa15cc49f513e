// Line and bar charts by uPlot, in the page's colours: they follow the width, and light and dark.
import uPlot from "../vendor/uplot/uPlot.esm.js";
import { h } from "./dom.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const PATHS = { line: undefined, bars: uPlot.paths.bars({ size: [0.7, 48] }), points: () => null };

/**
 * A chart with `{element, update(data)}`; `data` is [x, ...one array for each series], as uPlot takes it.
 *
 * `series`: {name, colour: a CSS variable, kind: "line", "bars" or "points", dash}. `x` and `y` write values as text;
 * `splits` are the places of the x axis's marks, where they should not be uPlot's own.
 */
export function chart({ label, series, x, y, data, height = 190, splits, xRange, yRange }) {
  const element = h("div.chart", { role: "img", "aria-label": label });
  let plot = null;
  let shown = data;

  function options() {
    const [ink, line] = [colour("faint"), colour("line")];
    const axis = (values, more = {}) => ({ stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, values, ...more });
    return {
      width: Math.max(200, element.clientWidth), height,
      cursor: { y: false, drag: { setScale: false } },
      scales: { x: { time: false, ...(xRange ? { range: xRange } : {}) }, y: { range: yRange ?? ((_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1]) } },
      axes: [axis((_, marks) => marks.map((mark) => (mark === null ? "" : x(mark))), splits ? { splits: () => splits(shown[0]) } : {}),
        axis((_, marks) => marks.map(y), { size: 66 })],
      series: [{ label: "", value: (_, value) => (value === null ? "" : x(value)) },
        ...series.map(({ name, colour: own, kind = "line", dash }) => ({
          label: name, stroke: colour(own), width: kind === "points" ? 0 : 2, dash, paths: PATHS[kind],
          fill: kind === "bars" ? colour(own) : undefined, spanGaps: false,
          points: kind === "points" ? { show: true, size: 11, width: 2, fill: "transparent" } : kind === "bars" ? { show: false } : { size: 5 },
          value: (_, value) => (value === null || value === undefined ? "–" : y(value)),
        }))],
    };
  }

  function build() {
    plot?.destroy();
    plot = new uPlot(options(), shown, element);
  }

  const followWidth = new ResizeObserver(() => {
    if (!element.isConnected) {
      if (!plot) return; // not yet on the page
      followWidth.disconnect();
      dark.removeEventListener("change", build);
      plot?.destroy();
      plot = null;
    } else if (!plot) build();
    else plot.setSize({ width: Math.max(200, element.clientWidth), height });
  });
  followWidth.observe(element);
  dark.addEventListener("change", build);
  return {
    element,
    update(next) {
      shown = next;
      plot?.setData(next);
    },
  };
}
