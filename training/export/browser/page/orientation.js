// How a picture is to be turned: the Exif tag Orientation, or the same in XMP, as Pillow reads them.

const ORIENTATION = 0x0112;
const SHORT = 3;

/**
 * @param {Uint8Array} exif a TIFF header and its directory (Exif 2.32, 4.5.2), after the letters `Exif` and two zeros if any.
 * @returns {number | null} 1 to 8; null: it states none, or is broken.
 */
export function orientationOfExif(exif) {
  const start = latin1(exif.subarray(0, 6)) === "Exif\0\0" ? 6 : 0;
  const view = new DataView(exif.buffer, exif.byteOffset + start, exif.byteLength - start);
  try {
    const little = view.getUint16(0) === 0x4949;
    if (!little && view.getUint16(0) !== 0x4d4d) {
      return null;
    }
    const directory = view.getUint32(4, little);
    const count = view.getUint16(directory, little);
    for (let entry = directory + 2; entry < directory + 2 + 12 * count; entry += 12) {
      if (view.getUint16(entry, little) === ORIENTATION && view.getUint16(entry + 2, little) === SHORT) {
        return view.getUint16(entry + 8, little);
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) {
      throw error;
    }
  }
  return null;
}

/**
 * @param {Uint8Array} xmp
 * @returns {number | null} as `orientationOfExif`.
 */
export function orientationOfXmp(xmp) {
  const match = /tiff:Orientation(?:="|>)([0-9])/.exec(latin1(xmp));
  return match ? Number(match[1]) : null;
}

/**
 * @param {Uint8Array} bytes
 * @returns {string} one letter a byte.
 */
export function latin1(bytes) {
  // TextDecoder takes `latin1` for Windows-1252, in which some bytes are other letters.
  let text = "";
  for (const byte of bytes) {
    text += String.fromCharCode(byte);
  }
  return text;
}
