// Draws an activation map over a picture, in the colours of webui/activation_picture.py.

import { Plane } from "./plane.js";
import { BILINEAR, resized } from "./resample.js";

const SIDE = 256;
const STOPS = [[0, [38, 70, 140]], [128, [42, 150, 160]], [255, [255, 190, 80]]];
const MOST_OPACITY = 150;
const FRAME = "#ffbe50";

// Red, green, blue and opacity of a response of 0 to 255. Response 0 is transparent.
function colour(value) {
  const end = STOPS.findIndex(([stop]) => value <= stop) || 1;
  const [[low, first], [high, second]] = [STOPS[end - 1], STOPS[end]];
  const share = (value - low) / (high - low);
  return [...first.map((part, i) => Math.round(part + share * (second[i] - part))), Math.round((MOST_OPACITY * value) / 255)];
}

const COLOURS = Array.from({ length: 256 }, (_, value) => colour(value));

/** @type {(width: number, height: number, pixel: (i: number) => number[]) => OffscreenCanvas} */
function drawn(width, height, pixel) {
  const canvas = new OffscreenCanvas(width, height);
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    image.data.set(pixel(i), 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Plane} grey the picture.
 * @param {import("./scorer.js").Score | null} score whose map is drawn over the film, with a frame around the lungs; null: none.
 */
export function draw(canvas, grey, score) {
  Object.assign(canvas, { width: grey.width, height: grey.height });
  const context = canvas.getContext("2d");
  context.drawImage(drawn(grey.width, grey.height, (i) => [grey.data[i], grey.data[i], grey.data[i], 255]), 0, 0);
  if (score === null) {
    return;
  }
  const map = resized(new Plane(score.places, score.places, score.activation), SIDE, SIDE, BILINEAR);
  const [x, y] = [grey.width / score.size.width, grey.height / score.size.height];
  const place = (part) => [part.left * x, part.top * y, (part.right - part.left) * x, (part.bottom - part.top) * y];
  const film = score.crop ?? { left: 0, top: 0, right: score.size.width, bottom: score.size.height };
  context.drawImage(drawn(SIDE, SIDE, (i) => COLOURS[map.data[i]]), ...place(film));
  if (score.lungs) {
    Object.assign(context, { strokeStyle: FRAME, lineWidth: Math.max(1, grey.width / 400, grey.height / 400) });
    context.strokeRect(...place(score.lungs));
  }
}
