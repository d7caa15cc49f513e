// The lab's numbers: planes[channel][row][column], kernels[kernel][channel][row][column] or null, stride,
// padding, pool {type, size, stride} or null. The service's form puts channels last.

const copy = (value) => structuredClone(value);
const toPlanes = (image) => (Array.isArray(image[0][0])
  ? image[0][0].map((_, channel) => image.map((row) => row.map((pixel) => pixel[channel])))
  : [copy(image)]);
const toImage = (planes) => (planes.length === 1
  ? planes[0]
  : planes[0].map((row, r) => row.map((_, c) => planes.map((plane) => plane[r][c]))));

/** The state of a request to `/v1/convolve`. */
export function fromRequest(request) {
  const planes = toPlanes(request.image);
  const { kernel, pool } = request;
  const listed = kernel && (planes.length > 1 ? Array.isArray(kernel[0][0][0]) : Array.isArray(kernel[0][0]));
  return {
    planes,
    kernels: kernel ? (listed ? kernel : [kernel]).map(toPlanes) : null,
    stride: request.stride ?? 1,
    padding: request.padding ?? "valid",
    pool: pool ? { type: pool.type, size: pool.size, stride: pool.stride ?? pool.size } : null,
  };
}

/** The request that computes a state, with every step. */
export function toRequest({ planes, kernels, stride, padding, pool }) {
  const request = { image: toImage(planes), stride, padding, steps: true };
  if (kernels) request.kernel = kernels.length === 1 ? toImage(kernels[0]) : kernels.map(toImage);
  if (pool) request.pool = pool;
  return request;
}

/** Square planes of that side: cut, or filled with zeros. */
export function resized(planes, side) {
  return planes.map((plane) => Array.from({ length: side }, (_, row) =>
    Array.from({ length: side }, (__, column) => plane[row]?.[column] ?? 0)));
}
