// An answer instead of a score: why a file is not scored. The sentences are those of the worker (worker/errors.py).

/** @typedef {Record<string, string | number>} Detail */

// Reasons that only this page has. The worker may score such a file.
const OWN = {
  dicom_here: "This page does not read DICOM. Export the image as PNG with 8 bits, or score the object with nightread screen.",
  not_as_the_worker:
    "This page cannot read the file with the grey values that the worker would see ({detail}), so it gives no score. "
    + "Score the file with nightread screen.",
};

/** A permanent answer: the image is not scored. `code` is a key of REJECTIONS in worker/errors.py, or of `OWN`. */
export class Rejected extends Error {
  /**
   * @param {string} code
   * @param {Detail} detail fills the sentence.
   */
  constructor(code, detail = {}) {
    super(code);
    this.code = code;
    this.detail = detail;
  }

  /**
   * @param {Record<string, string>} sentences of the worker, by code.
   * @returns {string} the reason for people.
   */
  sentence(sentences) {
    const text = sentences[this.code] ?? OWN[this.code] ?? this.code;
    return text.replace(/\{(\w+)\}/g, (whole, name) => String(this.detail[name] ?? whole));
  }
}

/**
 * @param {string} detail what the file has that this page reads differently.
 * @returns {Rejected} for a file whose score could differ from the worker's.
 */
export const notAsTheWorker = (detail) => new Rejected("not_as_the_worker", { detail });
