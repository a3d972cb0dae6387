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
   * @returns {Promise<Float32Array>} the output, without its first dimension.
   */
  async run(grey) {
    const input = new Tensor(grey.data, [1, grey.height, grey.width, 1]);
    try {
      const [output] = await this.model.run(input);
      try {
        return Float32Array.from(output.toTypedArray());
      } finally {
        output.delete();
      }
    } finally {
      input.delete();
    }
  }
}
