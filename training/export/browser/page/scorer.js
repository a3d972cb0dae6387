// Scores a file in the browser, with the numbers of the worker (worker/screening.py).

import { Admission } from "./admission.js";
import { DistanceMeasure, isFar } from "./distance.js";
import { LungFinder } from "./lungs.js";
import { Network, startRuntime } from "./network.js";
import { logAddExp, softmax } from "./numbers.js";
import { LIMITS, Picture } from "./picture.js";
import { Rejected } from "./rejection.js";
import { BILINEAR, resized } from "./resample.js";

const ENLARGED_SHARE = 0.9;
const FULL_SCALE = 24;
const CAUTION_AFTER_CROP = 0.35;

/** @typedef {{ band_low: number, band_high: number }} OperatingPoint */

/**
 * @typedef {object} Setup what `nightread export --format browser` writes to setup.json.
 * @property {string} name
 * @property {string} version
 * @property {string} model identity of the model.
 * @property {number} side
 * @property {string[]} labels
 * @property {number} temperature
 * @property {{ low: number, high: number } | null} second_look
 * @property {{ labels: string[], side: number, threshold: number } | null} gate
 * @property {{ margin: number, least_area: number } | null} lungs null: preprocessing 2, without a lung network.
 * @property {{ limit: number } | null} distance from the training data; null: the model does not say.
 * @property {Record<string, OperatingPoint>} operating_points
 * @property {string} default_operating_point
 * @property {{ min: number, max: number } | null} ages for which the figures hold, in years.
 * @property {boolean} verified whether Nightread ships this model.
 * @property {Record<string, string>} files name -> SHA-256, in hex.
 * @property {Record<string, string>} sentences of rejections.
 */

/**
 * @typedef {object} Score
 * @property {number[]} probabilities of the labels.
 * @property {number} p_pneumonia
 * @property {number} confidence
 * @property {import("./film.js").Box | null} crop
 * @property {import("./film.js").Box | null} lungs the part that the network saw; null: the whole film.
 * @property {number | null} distance from the training data in units of the limit; null: the model does not say.
 * @property {boolean} looked_twice
 * @property {Uint8Array} activation 0..255, row by row.
 * @property {number} places rows and columns of the activation.
 * @property {{ width: number, height: number }} size of the upright original.
 */

/** A loaded model. */
export class Scorer {
  /** @param {Setup} setup */
  constructor(setup) {
    this.setup = setup;
  }

  /**
   * @param {string | URL} folder of the page.
   * @returns {Promise<Scorer>}
   */
  static async load(folder) {
    const scorer = new Scorer(await (await fetched(new URL("setup.json", folder))).json());
    const { files, gate, lungs, distance } = scorer.setup;
    const content = async (name) => verified(await fetched(new URL(name, folder)), name, files[name]);
    const [network, gateNetwork, lungNetwork, reference] = await Promise.all([
      content("model.tflite"), gate && content("gate.tflite"), lungs && content("lungs.tflite"), distance && content("distance.json"),
    ]);
    await startRuntime();
    scorer.network = await Network.load(network);
    scorer.admission = new Admission(
      scorer.setup,
      gateNetwork && await Network.load(gateNetwork),
      lungNetwork && new LungFinder(await Network.load(lungNetwork), lungs),
    );
    scorer.distance = reference && new DistanceMeasure(JSON.parse(new TextDecoder().decode(reference)), distance.limit);
    return scorer;
  }

  /**
   * @param {Uint8Array} data a file.
   * @returns {Promise<Score>}
   * @throws {Rejected}
   */
  async score(data) {
    const picture = new Picture(data);
    const { input, crop, lungs } = await this.admission.admit(picture);
    this.checkFilm(crop);
    const [singles, features] = await this.network.runWithFeatures(input);
    // What follows is in double precision.
    const first = Array.from(singles);
    // A second look changes no distance.
    const distance = this.distance && this.distance.measure(features);
    const look = this.setup.second_look;
    const p = this.scores(first).p_pneumonia;
    const looked_twice = look !== null && p >= look.low && p < look.high;
    const evidence = looked_twice ? await this.secondLook(input, first) : first;
    const size = { width: picture.width, height: picture.height };
    return { ...this.scores(evidence), crop, lungs, distance, looked_twice, size };
  }

  checkFilm(crop) {
    const limit = LIMITS.min_side;
    const [width, height] = crop ? [crop.right - crop.left, crop.bottom - crop.top] : [limit, limit];
    if (Math.min(width, height) < limit) {
      throw new Rejected("film_too_small", { width, height, limit });
    }
  }

  // The mean evidence of the input, of its mirror image (mirrored back) and of its middle, enlarged.
  async secondLook(input, first) {
    const { side } = this.setup;
    const mirrored = await this.network.run(input.mirrored());
    const edge = (side * (1 - ENLARGED_SHARE)) / 2;
    const enlarged = await this.network.run(resized(input, side, side, BILINEAR, [edge, edge, side - edge, side - edge]));
    const kinds = this.setup.labels.length;
    const places = Math.sqrt(first.length / kinds);
    return first.map((value, i) => {
      const [place, kind] = [Math.floor(i / kinds), i % kinds];
      const opposite = place - (place % places) + places - 1 - (place % places);
      return (value + mirrored[opposite * kinds + kind] + enlarged[i]) / 3;
    });
  }

  // `evidence` holds the logits of each place, row by row.
  scores(evidence) {
    const kinds = this.setup.labels.length;
    const scaled = evidence.map((value) => value / this.setup.temperature);
    const count = scaled.length / kinds;
    const logits = this.setup.labels.map((_, kind) => {
      let sum = 0;
      for (let place = 0; place < count; place++) {
        sum += scaled[place * kinds + kind];
      }
      return sum / count;
    });
    const probabilities = softmax(logits);
    const p_pneumonia = Math.min(probabilities[1] + probabilities[2], 1);
    const activation = Uint8Array.from({ length: count }, (_, place) => {
      const [normal, bacterial, viral] = scaled.slice(place * kinds, place * kinds + kinds);
      const share = (logAddExp(bacterial, viral) - normal) / FULL_SCALE;
      return Math.round(255 * Math.min(1, Math.max(0, share)));
    });
    return { probabilities, p_pneumonia, confidence: Math.max(p_pneumonia, 1 - p_pneumonia), activation, places: Math.sqrt(count) };
  }

  /**
   * @param {Score} score
   * @param {string} point name of an operating point.
   * @param {number | null} age of the patient in years; null: not known.
   * @returns {"flagged" | "uncertain" | "clear"}
   */
  verdict({ p_pneumonia, crop, distance }, point, age = null) {
    const { band_low: low, band_high: high } = this.setup.operating_points[point];
    if (p_pneumonia >= high) {
      return "flagged";
    }
    const limit = crop ? Math.max(0, low - CAUTION_AFTER_CROP) : low;
    return this.isOutside(age) || isFar(distance) || p_pneumonia >= limit ? "uncertain" : "clear";
  }

  /**
   * @param {number | null} age
   * @returns {boolean} whether the figures of the model do not hold for a patient of this age.
   */
  isOutside(age) {
    const { ages } = this.setup;
    return ages !== null && age !== null && !(age >= ages.min && age < Math.floor(ages.max) + 1);
  }
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) {
    throw new Error(`${address} cannot be loaded: ${answer.status} ${answer.statusText}`);
  }
  return answer;
}

async function verified(answer, name, expected) {
  const content = new Uint8Array(await answer.arrayBuffer());
  // Browsers hash only on pages of this device or of https.
  if (globalThis.crypto?.subtle) {
    const hash = Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", content)), (byte) => byte.toString(16).padStart(2, "0"));
    if (hash.join("") !== expected) {
      throw new Error(`${name} is not the file that was exported with this page.`);
    }
  }
  return content;
}
