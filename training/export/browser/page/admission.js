// Turns pictures into model inputs, with all checks of an image's content, as worker/inference/admission.py.

import { hasWideMargin } from "./margins.js";
import { Network } from "./network.js";
import { softmax } from "./numbers.js";
import { Picture } from "./picture.js";
import { Plane } from "./plane.js";
import { checkedFilm, normalised } from "./preprocess.js";
import { Rejected } from "./rejection.js";
import { BOX, resized } from "./resample.js";

/**
 * @typedef {object} Admitted
 * @property {Plane} input model input.
 * @property {import("./film.js").Box | null} crop the film, in pixels of the upright original; null: the whole picture.
 */

/** The preprocessing of a bundle with its gate. */
export class Admission {
  /**
   * @param {import("./scorer.js").Setup} setup
   * @param {Network | null} gate
   */
  constructor(setup, gate) {
    Object.assign(this, { setup, gate });
  }

  /**
   * @param {Picture} picture
   * @returns {Promise<Admitted>}
   * @throws {Rejected}
   */
  async admit(picture) {
    const { grey, crop } = await checkedFilm(picture, this.setup.side);
    if (hasWideMargin(grey)) {
      throw new Rejected("on_a_page");
    }
    const input = normalised(grey);
    await this.checkGate(input);
    return { input, crop };
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
