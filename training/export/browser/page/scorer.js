// Scores a file in the browser, with the numbers of the worker (worker/screening.py).

import { logOdds, overFilm, picture as mapOf } from "./activation.js";
import { Admission } from "./admission.js";
import { DistanceMeasure, isFar } from "./distance.js";
import { LungFinder } from "./lungs.js";
import { Network, startRuntime } from "./network.js";
import { softmax } from "./numbers.js";
import { LIMITS, Picture } from "./picture.js";
import { Rejected } from "./rejection.js";
import { BILINEAR, resized } from "./resample.js";

// The network that sees the whole film, beside one that sees the lungs.
const FILM = "film.tflite";
const ENLARGED_SHARE = 0.9;
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
 * @property {boolean} cutOff whether a part of the lungs may lie beyond the film.
 * @property {number | null} distance from the training data in units of the limit; null: the model does not say.
 * @property {boolean} looked_twice
 * @property {Uint8Array} activation 0..255, row by row; it covers the film.
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
    const [network, film, gateNetwork, lungNetwork, reference] = await Promise.all([
      content("model.tflite"), FILM in files && content(FILM),
      gate && content("gate.tflite"), lungs && content("lungs.tflite"), distance && content("distance.json"),
    ]);
    await startRuntime();
    scorer.network = await Network.load(network);
    scorer.film = film ? await Network.load(film) : null;
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
    const { input, film, part, crop, lungs, cutOff } = await this.admission.admit(picture);
    this.checkFilm(crop);
    const [singles, features] = await this.network.runWithFeatures(input);
    // What follows is in double precision.
    const looks = [{ network: this.network, grey: input, first: Array.from(singles) }];
    if (this.film) {
      looks.push({ network: this.film, grey: film, first: Array.from(await this.film.run(film)) });
    }
    // A second look changes no distance.
    const distance = this.distance && this.distance.measure(features);
    const evidence = looks.map(({ first }) => first);
    const range = this.setup.second_look;
    const p = this.scores(evidence, part).p_pneumonia;
    const looked_twice = range !== null && p >= range.low && p < range.high;
    for (let i = 0; looked_twice && i < looks.length; i++) {
      evidence[i] = await this.secondLook(looks[i]);
    }
    const size = { width: picture.width, height: picture.height };
    return { ...this.scores(evidence, part), crop, lungs, cutOff, distance, looked_twice, size };
  }

  checkFilm(crop) {
    const limit = LIMITS.min_side;
    const [width, height] = crop ? [crop.right - crop.left, crop.bottom - crop.top] : [limit, limit];
    if (Math.min(width, height) < limit) {
      throw new Rejected("film_too_small", { width, height, limit });
    }
  }

  // The mean evidence of what a network sees, of its mirror image (mirrored back) and of its middle, enlarged.
  async secondLook({ network, grey, first }) {
    const side = grey.width;
    const mirrored = await network.run(grey.mirrored());
    const edge = (side * (1 - ENLARGED_SHARE)) / 2;
    const enlarged = await network.run(resized(grey, side, side, BILINEAR, [edge, edge, side - edge, side - edge]));
    const kinds = this.setup.labels.length;
    const places = Math.sqrt(first.length / kinds);
    return first.map((value, i) => {
      const [place, kind] = [Math.floor(i / kinds), i % kinds];
      const opposite = place - (place % places) + places - 1 - (place % places);
      return (value + mirrored[opposite * kinds + kind] + enlarged[i]) / 3;
    });
  }

  // `evidence` holds the logits of each place, row by row, of the network, and of the film network if there is one.
  scores(evidence, part) {
    const scaled = evidence.map((logits) => logits.map((value) => value / this.setup.temperature));
    const probabilities = softmax(this.setup.labels.map((_, kind) => mean(scaled.map((logits) => this.meanOf(logits, kind)))));
    const p_pneumonia = Math.min(probabilities[1] + probabilities[2], 1);
    const [odds, ofFilm = null] = scaled.map(logOdds);
    const activation = mapOf(part ? overFilm(odds, part, ofFilm) : odds);
    return { probabilities, p_pneumonia, confidence: Math.max(p_pneumonia, 1 - p_pneumonia), activation, places: Math.sqrt(activation.length) };
  }

  // The mean over the places of the logits of one label.
  meanOf(logits, kind) {
    const kinds = this.setup.labels.length;
    return mean(logits.filter((_, i) => i % kinds === kind));
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

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

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
