// Runs the bundle's own files with LiteRT.js, on the CPU.

import { loadAndCompile, loadLiteRt, Tensor } from "./litert/index.js";
import { Plane } from "./plane.js";

let runtime = null;

/** @returns {Promise<unknown>} when the runtime has started, which it does once for a page. */
export function startRuntime() {
  runtime ??= loadLiteRt(new URL("./litert/litert_wasm_compat_internal.js", import.meta.url).href);
  return runtime;
}

/** A network of a bundle. */
export class Network {
  /**
   * @param {Uint8Array} file a .tflite file.
   * @returns {Promise<Network>}
   */
  static async load(file) {
    const network = new Network();
    network.model = await loadAndCompile(file, { accelerator: "wasm", cpuOptions: { numThreads: 1 } });
    return network;
  }

  /**
   * @param {Plane} grey
   * @returns {Promise<Float32Array>} the output, without its first dimension; the evidence of a network with features.
   */
  async run(grey) {
    return (await this.runWithFeatures(grey))[0];
  }

  /**
   * @param {Plane} grey
   * @returns {Promise<Float32Array[]>} evidence and features, at the same places, place by place.
   */
  async runWithFeatures(grey) {
    const input = new Tensor(grey.data, [1, grey.height, grey.width, 1]);
    try {
      const outputs = await this.model.run(input);
      try {
        // Their order is not fixed; the head has fewer channels than its input.
        return outputs.map((output) => Float32Array.from(output.toTypedArray())).sort((a, b) => a.length - b.length);
      } finally {
        outputs.forEach((output) => output.delete());
      }
    } finally {
      input.delete();
    }
  }
}
