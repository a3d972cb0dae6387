// Turns pictures into model inputs, with all checks of an image's content, as worker/inference/admission.py.

import { areCutOff, cut, FIELD_FINENESS, FIELD_SIDE, LungFinder, WHOLE_SIDE } from "./lungs.js";
import { hasWideMargin } from "./margins.js";
import { Network } from "./network.js";
import { round, softmax } from "./numbers.js";
import { Picture } from "./picture.js";
import { Plane } from "./plane.js";
import { checkedFilm, normalised } from "./preprocess.js";
import { Rejected } from "./rejection.js";
import { BILINEAR, BOX, resized } from "./resample.js";

/** @typedef {import("./film.js").Box} Box */

/**
 * @typedef {object} Admitted
 * @property {Plane} input model input.
 * @property {Plane} film the whole film, normalised.
 * @property {import("./lungs.js").Shares | null} part what the input shows, as shares of the film; null: all of it.
 * @property {Box | null} crop the film, in pixels of the upright original; null: the whole picture.
 * @property {Box | null} lungs the part around the lungs that the input shows, in the same pixels; null: the whole film.
 * @property {boolean} cutOff whether a part of the lungs may lie beyond the film.
 */

/** The preprocessing of a bundle with its gate and its lung network. */
export class Admission {
  /**
   * @param {import("./scorer.js").Setup} setup
   * @param {Network | null} gate
   * @param {LungFinder | null} lungs null: the network sees whole films (preprocessing 2).
   */
  constructor(setup, gate, lungs) {
    Object.assign(this, { setup, gate, lungs });
  }

  /**
   * @param {Picture} picture
   * @returns {Promise<Admitted>}
   * @throws {Rejected}
   */
  async admit(picture) {
    const { side } = this.setup;
    const { grey, crop } = await (this.lungs ? checkedFilm(picture, FIELD_SIDE, FIELD_FINENESS) : checkedFilm(picture, side));
    const seen = this.lungs ? resized(grey, WHOLE_SIDE, WHOLE_SIDE, BILINEAR) : grey;
    if (hasWideMargin(seen)) {
      throw new Rejected("on_a_page");
    }
    const whole = normalised(seen);
    await this.checkGate(whole);
    if (!this.lungs) {
      return { input: whole, film: whole, part: null, crop, lungs: null, cutOff: false };
    }
    const box = await this.lungs.find(whole);
    if (box === null) {
      throw new Rejected("no_lungs");
    }
    const film = crop ?? { left: 0, top: 0, right: picture.width, bottom: picture.height };
    const lungs = inOriginal(box, film);
    return { input: normalised(cut(grey, box, side)), film: whole, part: box, crop, lungs, cutOff: areCutOff(lungs, film) };
  }

  async checkGate(input) {
    const { gate } = this.setup;
    if (!gate) {
      return;
    }
    const probabilities = softmax(await this.gate.run(resized(input, gate.side, gate.side, BOX)));
    if (1 - probabilities[0] > gate.threshold) {
      const others = probabilities.slice(1);
      throw new Rejected(gate.labels[1 + others.indexOf(Math.max(...others))]);
    }
  }
}

// A part of a film, given as shares of it, in pixels of the upright original.
function inOriginal(box, film) {
  const [width, height] = [film.right - film.left, film.bottom - film.top];
  return {
    left: film.left + round(box.left * width),
    top: film.top + round(box.top * height),
    right: film.left + round(box.right * width),
    bottom: film.top + round(box.bottom * height),
  };
}
