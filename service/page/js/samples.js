// Pictures to click when there is nothing at hand. They were drawn for this page and carry its licence.

export const SAMPLES = ["cat", "dog", "beetle", "cell"];
const SIDE = 320;

/** The drawing as a PNG file. */
export async function drawSample(name) {
  const picture = new Image(SIDE, SIDE);
  picture.src = `/page/samples/${name}.svg`;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  canvas.getContext("2d").drawImage(picture, 0, 0, SIDE, SIDE);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return new File([blob], `${name}.png`, { type: "image/png" });
}
